//! An assembler for the steering program: instructions, labels, and a second pass for jumps.
//!
//! Only what the steering program needs (Documentation/bpf/standardization/instruction-set.rst).
//! Values of packet fields are compared as they lie in memory, so constants are in network
//! order; only ranges are swapped first.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::abi::Insn;

/// A register, R0 to R10. R0 is a result, R1 to R5 are arguments and lost by a call, R6 to R9
/// survive it, R10 is the frame pointer.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Reg(u8);

pub(super) const R0: Reg = Reg(0);
pub(super) const R1: Reg = Reg(1);
pub(super) const R2: Reg = Reg(2);
pub(super) const R3: Reg = Reg(3);
pub(super) const R4: Reg = Reg(4);
pub(super) const R5: Reg = Reg(5);
pub(super) const R6: Reg = Reg(6);
pub(super) const R7: Reg = Reg(7);
pub(super) const R8: Reg = Reg(8);
pub(super) const R9: Reg = Reg(9);
pub(super) const R10: Reg = Reg(10);

/// How many bytes a load or a store moves.
#[derive(Copy, Clone, Debug)]
pub(super) enum Width {
    Byte = 0x10,
    Half = 0x08,
    Word = 0x00,
}

/// A place to jump to, set once by [`Assembler::place`].
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Label(usize);

/// Instructions under way.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    insns: Vec<Insn>,
    /// Where each label stands, once it is placed.
    labels: Vec<Option<usize>>,
    /// Jumps that wait for their distance: (instruction, label).
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// The finished program: every jump gets its distance in this second pass.
    ///
    /// # Errors
    /// When a jump is longer than its 16 bits, or a label was never placed: a fault of the
    /// generator or a rule list too long for immediates, never of the input packet.
    pub(super) fn finish(mut self) -> Result<Vec<Insn>, String> {
        for (at, label) in self.jumps {
            let Some(target) = self.labels[label.0] else {
                return Err(format!("label {} was never placed", label.0));
            };
            // The distance counts from the instruction after the jump.
            let distance = target as i64 - at as i64 - 1;
            self.insns[at].offset = i16::try_from(distance)
                .map_err(|_| format!("a jump of {distance} instructions does not fit 16 bits"))?;
        }
        Ok(self.insns)
    }

    /// A label to be placed later.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The next instruction is where `label` leads.
    pub(super) fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.insns.len());
    }

    /// `dst = *(width *)(base + offset)`
    pub(super) fn load(&mut self, width: Width, dst: Reg, base: Reg, offset: i16) {
        self.push(0x61 | width as u8, dst, base, offset, 0);
    }

    /// `*(u32 *)(base + offset) = src`
    pub(super) fn store(&mut self, base: Reg, offset: i16, src: Reg) {
        self.push(0x63, base, src, offset, 0);
    }

    /// `*(u64 *)(base + offset) = value`
    pub(super) fn store_u64(&mut self, base: Reg, offset: i16, value: i32) {
        self.push(0x7a, base, R0, offset, value);
    }

    /// `dst = *(u64 *)(base + offset)`
    pub(super) fn load_u64(&mut self, dst: Reg, base: Reg, offset: i16) {
        self.push(0x79, dst, base, offset, 0);
    }

    /// `*(u64 *)(base + offset) = src`
    pub(super) fn store_reg_u64(&mut self, base: Reg, offset: i16, src: Reg) {
        self.push(0x7b, base, src, offset, 0);
    }

    /// `*(u64 *)(base + offset) += src`, atomically.
    pub(super) fn add_atomic(&mut self, base: Reg, offset: i16, src: Reg) {
        self.push(0xdb, base, src, offset, 0);
    }

    /// `dst = src`
    pub(super) fn copy(&mut self, dst: Reg, src: Reg) {
        self.push(0xbf, dst, src, 0, 0);
    }

    /// `dst = value`
    pub(super) fn set(&mut self, dst: Reg, value: i32) {
        self.push(0xb7, dst, R0, 0, value);
    }

    /// `dst += value`
    pub(super) fn add(&mut self, dst: Reg, value: i32) {
        self.push(0x07, dst, R0, 0, value);
    }

    /// `dst += src`
    pub(super) fn add_reg(&mut self, dst: Reg, src: Reg) {
        self.push(0x0f, dst, src, 0, 0);
    }

    /// `dst &= value`
    pub(super) fn and(&mut self, dst: Reg, value: i32) {
        self.push(0x57, dst, R0, 0, value);
    }

    /// `dst |= value`
    pub(super) fn or(&mut self, dst: Reg, value: i32) {
        self.push(0x47, dst, R0, 0, value);
    }

    /// `dst ^= value`
    pub(super) fn xor(&mut self, dst: Reg, value: i32) {
        self.push(0xa7, dst, R0, 0, value);
    }

    /// `dst -= src`
    pub(super) fn sub_reg(&mut self, dst: Reg, src: Reg) {
        self.push(0x1f, dst, src, 0, 0);
    }

    /// `dst <<= bits`
    pub(super) fn shift_left(&mut self, dst: Reg, bits: i32) {
        self.push(0x67, dst, R0, 0, bits);
    }

    /// `dst <<= src`
    pub(super) fn shift_left_reg(&mut self, dst: Reg, src: Reg) {
        self.push(0x6f, dst, src, 0, 0);
    }

    /// `dst >>= bits`, unsigned.
    pub(super) fn shift_right(&mut self, dst: Reg, bits: i32) {
        self.push(0x77, dst, R0, 0, bits);
    }

    /// `dst >>= src`, unsigned.
    pub(super) fn shift_right_reg(&mut self, dst: Reg, src: Reg) {
        self.push(0x7f, dst, src, 0, 0);
    }

    /// The 16-bit network-order value in `dst`, in host order.
    pub(super) fn be16_to_host(&mut self, dst: Reg) {
        self.push(0xdc, dst, R0, 0, 16);
    }

    pub(super) fn jump(&mut self, to: Label) {
        self.branch(0x05, R0, R0, 0, to);
    }

    /// Compares the low 32 bits: a 64-bit comparison would extend the sign of the immediate.
    pub(super) fn jump_if_equal(&mut self, reg: Reg, value: u32, to: Label) {
        self.branch(0x16, reg, R0, value.cast_signed(), to);
    }

    /// Compares the low 32 bits.
    pub(super) fn jump_if_not_equal(&mut self, reg: Reg, value: u32, to: Label) {
        self.branch(0x56, reg, R0, value.cast_signed(), to);
    }

    /// Jumps when the whole register is zero: a map value's address, or nothing.
    pub(super) fn jump_if_null(&mut self, reg: Reg, to: Label) {
        self.branch(0x15, reg, R0, 0, to);
    }

    /// Unsigned.
    pub(super) fn jump_if_below(&mut self, reg: Reg, value: i32, to: Label) {
        self.branch(0xa5, reg, R0, value, to);
    }

    /// Unsigned.
    pub(super) fn jump_if_above(&mut self, reg: Reg, value: i32, to: Label) {
        self.branch(0x25, reg, R0, value, to);
    }

    /// Jumps unless `bytes` bytes lie between `from` and the packet's end in `end`. The verifier
    /// wants it before every access. Uses R1.
    pub(super) fn need(&mut self, from: Reg, bytes: i32, end: Reg, otherwise: Label) {
        self.copy(R1, from);
        self.add(R1, bytes);
        self.branch(0x2d, R1, end, 0, otherwise);
    }

    /// `dst` = the map; two slots.
    pub(super) fn load_map(&mut self, dst: Reg, map: BorrowedFd<'_>) {
        // src = BPF_PSEUDO_MAP_FD: the immediate is a descriptor, which the verifier replaces.
        self.push(0x18, dst, R1, 0, map.as_raw_fd());
        self.insns.push(Insn::default());
    }

    /// `dst = value`, all 64 bits; two slots.
    pub(super) fn set_u64(&mut self, dst: Reg, value: u64) {
        self.push(0x18, dst, R0, 0, (value as u32).cast_signed());
        let immediate = ((value >> 32) as u32).cast_signed();
        self.insns.push(Insn { immediate, ..Insn::default() });
    }

    pub(super) fn call(&mut self, helper: i32) {
        self.push(0x85, R0, R0, 0, helper);
    }

    pub(super) fn exit(&mut self) {
        self.push(0x95, R0, R0, 0, 0);
    }

    fn branch(&mut self, code: u8, dst: Reg, src: Reg, immediate: i32, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.push(code, dst, src, 0, immediate);
    }

    fn push(&mut self, code: u8, dst: Reg, src: Reg, offset: i16, immediate: i32) {
        self.insns.push(Insn { code, registers: src.0 << 4 | dst.0, offset, immediate });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_count_from_the_next_instruction() {
        let mut asm = Assembler::default();
        let (back, out) = (asm.label(), asm.label());
        asm.place(back);
        asm.set(R0, 2);
        asm.jump_if_equal(R0, 1, out);
        asm.jump(back);
        asm.place(out);
        asm.exit();
        let insns = asm.finish().unwrap();
        assert_eq!((insns[1].code, insns[1].offset), (0x16, 1));
        assert_eq!((insns[2].code, insns[2].offset), (0x05, -3));
    }

    #[test]
    fn a_jump_too_long_is_refused() {
        let mut asm = Assembler::default();
        let far = asm.label();
        asm.jump(far);
        for _ in 0..40_000 {
            asm.set(R0, 0);
        }
        asm.place(far);
        assert!(asm.finish().is_err());
    }

    #[test]
    fn registers_share_a_byte() {
        let mut asm = Assembler::default();
        asm.copy(R9, R1);
        asm.load(Width::Half, R5, R7, 12);
        let insns = asm.finish().unwrap();
        assert_eq!((insns[0].code, insns[0].registers), (0xbf, 0x19));
        assert_eq!((insns[1].code, insns[1].registers, insns[1].offset), (0x69, 0x75, 12));
    }
}
