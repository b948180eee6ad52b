//! The report: one JSON document, the same figures as a table, and two reports compared.

/// Two reports, ratio by ratio.
pub(crate) mod compare;
/// The document itself.
pub(crate) mod document;
/// hdrhistogram's own files.
pub(crate) mod histograms;
/// The page.
pub(crate) mod html;
/// Medians.
pub(crate) mod statistics;
/// The table on the screen.
pub(crate) mod table;
