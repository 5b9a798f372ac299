//! A hash for records: FNV-1a of 128 bits (Fowler, Noll and Vo), each part preceded by its length.

/// The running hash.
pub(crate) struct Fnv(u128);

impl Fnv {
    /// The standard offset basis.
    pub fn new() -> Self {
        Fnv(0x6c62272e07bb014262b821756295c58d)
    }

    /// Takes bytes in, with their number, so that parts cannot run into each other.
    pub fn part(&mut self, bytes: &[u8]) {
        self.raw(&(bytes.len() as u64).to_le_bytes());
        self.raw(bytes);
    }

    fn raw(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u128::from(*b)).wrapping_mul(0x0000000001000000000000000000013b);
        }
    }

    /// 32 hexadecimal digits.
    pub fn hex(&self) -> String {
        format!("{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_fnv_1a() {
        // The test vector for "foobar" of the FNV reference code.
        let mut h = Fnv::new();
        h.raw(b"foobar");
        assert_eq!(h.hex(), "343e1662793c64bf6f0d3597ba446f18");
    }
}
