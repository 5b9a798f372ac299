//! Numbers handed out in contiguous blocks and taken back: resident rows and state slots.

/// First-fit over a sorted list of free blocks; grows when none fits.
#[derive(Debug, Default)]
pub(super) struct Allot {
    free: Vec<(u32, u32)>,
    end: u32,
}

impl Allot {
    /// The first of `len` consecutive free numbers.
    pub(super) fn take(&mut self, len: u32) -> u32 {
        if let Some(i) = self.free.iter().position(|&(_, n)| n >= len) {
            let (at, n) = self.free[i];
            if n == len {
                self.free.remove(i);
            } else {
                self.free[i] = (at + len, n - len);
            }
            return at;
        }
        // A free block that touches the end is grown rather than left behind.
        let at = match self.free.last() {
            Some(&(at, n)) if at + n == self.end => {
                self.free.pop();
                at
            }
            _ => self.end,
        };
        self.end = at + len;
        at
    }

    /// Gives a block back.
    pub(super) fn free(&mut self, at: u32, len: u32) {
        let i = self.free.partition_point(|&(a, _)| a < at);
        self.free.insert(i, (at, len));
        if i + 1 < self.free.len() && at + len == self.free[i + 1].0 {
            self.free[i].1 += self.free.remove(i + 1).1;
        }
        if i > 0 && self.free[i - 1].0 + self.free[i - 1].1 == at {
            self.free[i - 1].1 += self.free.remove(i).1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Allot;

    #[test]
    fn blocks_are_reused_and_joined() {
        let mut a = Allot::default();
        assert_eq!((a.take(4), a.take(3), a.take(2)), (0, 4, 7));
        a.free(0, 4);
        a.free(4, 3);
        assert_eq!(a.take(7), 0);
        a.free(7, 2);
        assert_eq!(a.take(5), 7);
        assert_eq!(a.end, 12);
    }
}
