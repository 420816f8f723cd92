//! The form of what a workload gets: whom it runs as, its signals, its filters.
//!
//! In which order they come, plan.rs and orders.rs know.

#![forbid(unsafe_code)]

use super::Malformed;
use super::values::{Reader, Writer};
use crate::handoff::{Account, Instruction, Name, SignalState};

/// The bytes of an instruction.
const INSTRUCTION: usize = 8;

impl Writer {
    pub(super) fn signal_state(&mut self, signals: SignalState) {
        self.u64(signals.mask);
        self.bool(signals.ignore_pipe);
        self.bool(signals.ignore_child);
    }

    pub(super) fn account(&mut self, account: &Account) {
        self.name(&account.user);
        self.option(account.group.as_ref(), Self::name);
        self.list(&account.groups, Self::name);
    }

    fn name(&mut self, name: &Name) {
        match name {
            Name::Id(id) => {
                self.u8(0);
                self.u32(*id);
            }
            Name::Named(name) => {
                self.u8(1);
                self.bytes(name.as_bytes());
            }
        }
    }

    /// There are hundreds of instructions: as a whole, and not each by its parts.
    pub(super) fn filter(&mut self, filter: &[Instruction]) {
        self.u64(filter.len() as u64);
        self.0.reserve(filter.len() * INSTRUCTION);
        for Instruction { code, jump_true, jump_false, operand } in filter {
            let ([code_0, code_1], [k_0, k_1, k_2, k_3]) = (code.to_le_bytes(), operand.to_le_bytes());
            self.0.extend_from_slice(&[code_0, code_1, *jump_true, *jump_false, k_0, k_1, k_2, k_3]);
        }
    }
}

impl Reader<'_> {
    pub(super) fn signal_state(&mut self) -> Result<SignalState, Malformed> {
        Ok(SignalState { mask: self.u64()?, ignore_pipe: self.bool()?, ignore_child: self.bool()? })
    }

    pub(super) fn account(&mut self) -> Result<Account, Malformed> {
        Ok(Account { user: self.name()?, group: self.option(Self::name)?, groups: self.list(Self::name)? })
    }

    fn name(&mut self) -> Result<Name, Malformed> {
        Ok(match self.u8()? {
            0 => Name::Id(self.u32()?),
            1 => Name::Named(self.string()?),
            _ => return Err(Malformed::Body),
        })
    }

    pub(super) fn filter(&mut self) -> Result<Vec<Instruction>, Malformed> {
        let length = usize::try_from(self.u64()?).ok().and_then(|count| count.checked_mul(INSTRUCTION));
        let (bytes, rest) =
            length.and_then(|length| self.0.split_at_checked(length)).ok_or(Malformed::Body)?;
        self.0 = rest;
        let of = |bytes: &[u8; INSTRUCTION]| {
            let [code_0, code_1, jump_true, jump_false, k_0, k_1, k_2, k_3] = *bytes;
            let (code, operand) =
                (u16::from_le_bytes([code_0, code_1]), u32::from_le_bytes([k_0, k_1, k_2, k_3]));
            Instruction { code, jump_true, jump_false, operand }
        };
        Ok(bytes.as_chunks().0.iter().map(of).collect())
    }
}
