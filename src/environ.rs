//! Pure. A view of an environment that the caller supplies.
#![allow(unsafe_code)] // Reads the array that the kernel left on the stack.

use core::ffi::{CStr, c_char};
use core::fmt;
use core::marker::PhantomData;

/// A list of C strings that somebody else owns: an environment or an argument list.
#[derive(Clone, Copy)]
struct Strings<'a> {
    /// So many references, or pointers up to a null pointer.
    at: *const (),
    count: usize,
    strings: PhantomData<&'a CStr>,
}

/// In place of a count, which memory could not hold: pointers up to a null pointer.
const KERNEL: usize = usize::MAX;

/// A borrowed view of an envp.
///
/// It copies nothing, reads no global and changes nothing. Strings are bytes: no UTF-8 is asked
/// for, and a string without `=` is kept as it is, it only has no name. Where a name occurs twice
/// the first one counts, as in getenv(3).
///
/// # Examples
///
/// ```
/// use gracenet::Environ;
///
/// let environ = Environ::new(&[c"TERM=linux", c"LISTEN_FDS=2"]);
/// assert_eq!(environ.var(b"LISTEN_FDS"), Some(b"2".as_slice()));
/// assert_eq!(environ.var(b"LISTEN"), None);
/// ```
#[derive(Clone, Copy)]
pub struct Environ<'a>(Strings<'a>);

/// A borrowed view of an argv: the same list of C strings, with no names in it.
#[derive(Clone, Copy)]
pub struct Args<'a>(Strings<'a>);

// SAFETY: both are read-only views; what they point to does not change for `'a`, by the
// contract of `from_raw`.
unsafe impl Send for Strings<'_> {}
// SAFETY: as above.
unsafe impl Sync for Strings<'_> {}

impl<'a> Environ<'a> {
    /// `Environ::new(strings)` — a view of a slice of C strings.
    pub const fn new(strings: &'a [&'a CStr]) -> Environ<'a> {
        Environ(Strings::slice(strings))
    }

    /// `Environ::from_raw(envp)` — a view of what the kernel left on the stack, or of C's `environ`.
    ///
    /// # Safety
    ///
    /// 1. `envp` points to an array of pointers to C strings that ends in a null pointer.
    /// 2. For `'a` neither the array nor a string changes: nobody calls setenv(3).
    pub const unsafe fn from_raw(envp: *const *const c_char) -> Environ<'a> {
        Environ(Strings::kernel(envp))
    }

    /// `environ.iter()` — every string, in order, byte for byte.
    pub fn iter(self) -> impl Iterator<Item = &'a CStr> + Clone + use<'a> {
        self.0
    }

    /// `environ.for_others()` — the strings for children that are no successors: all but those
    /// that tell of this process' own sockets and predecessor.
    ///
    /// # Examples
    ///
    /// ```
    /// use gracenet::Environ;
    ///
    /// let environ = Environ::new(&[c"LISTEN_FDS=1", c"TERM=linux", c"GRACENET_FD=4,7"]);
    /// assert!(environ.for_others().eq([c"TERM=linux"]));
    /// ```
    pub fn for_others(self) -> impl Iterator<Item = &'a CStr> + Clone + use<'a> {
        self.iter()
            .filter(|string| !crate::activation::is_ours(string.to_bytes()))
    }

    /// `environ.var(name)` — the value of the first variable of that name.
    #[doc(alias = "getenv")]
    #[inline(never)]
    pub fn var(self, name: &[u8]) -> Option<&'a [u8]> {
        self.iter()
            .find_map(|string| value_of(string.to_bytes(), name))
    }
}

/// The value in `name=value`, where that is the name.
#[inline(never)]
pub(crate) fn value_of<'a>(string: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match string.strip_prefix(name)?.split_first()? {
        (b'=', value) => Some(value),
        _ => None,
    }
}

impl<'a> Args<'a> {
    /// `Args::new(strings)` — a view of a slice of C strings.
    pub const fn new(strings: &'a [&'a CStr]) -> Args<'a> {
        Args(Strings::slice(strings))
    }

    /// `Args::from_raw(argv)` — a view of what the kernel left on the stack.
    ///
    /// # Safety
    ///
    /// As for [`Environ::from_raw`].
    pub const unsafe fn from_raw(argv: *const *const c_char) -> Args<'a> {
        Args(Strings::kernel(argv))
    }

    /// `args.first()` — the first argument, which is the program's name at the start.
    #[inline(never)]
    pub fn first(mut self) -> Option<&'a CStr> {
        self.0.next()
    }

    /// `args.take_first()` — the first argument, which is not among them any more.
    pub fn take_first(&mut self) -> Option<&'a CStr> {
        self.0.next()
    }

    /// `args.iter()` — every argument, the program's name first.
    pub fn iter(self) -> impl Iterator<Item = &'a CStr> + Clone + use<'a> {
        self.0
    }
}

impl<'a> Strings<'a> {
    const fn slice(strings: &'a [&'a CStr]) -> Strings<'a> {
        Strings {
            at: strings.as_ptr().cast(),
            count: strings.len(),
            strings: PhantomData,
        }
    }

    const fn kernel(array: *const *const c_char) -> Strings<'a> {
        Strings {
            at: array.cast(),
            count: KERNEL,
            strings: PhantomData,
        }
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a CStr;

    #[inline(never)]
    fn next(&mut self) -> Option<&'a CStr> {
        if self.count == KERNEL {
            let at = self.at.cast::<*const c_char>();
            // SAFETY: not past the null pointer that ends the array, by the contract of `from_raw`.
            let string = unsafe { at.read() };
            if string.is_null() {
                return None;
            }
            // SAFETY: the array has an element after this one, as this one is not null.
            self.at = unsafe { at.add(1) }.cast();
            // SAFETY: a C string that does not change for `'a`, by the contract of `from_raw`.
            return Some(unsafe { CStr::from_ptr(string) });
        }
        self.count = self.count.checked_sub(1)?;
        let at = self.at.cast::<&'a CStr>();
        // SAFETY: there was one more in the slice.
        self.at = unsafe { at.add(1) }.cast();
        // SAFETY: as above.
        Some(unsafe { at.read() })
    }
}

impl fmt::Debug for Environ<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use core::ptr;
    use std::vec::Vec;

    /// Case A15, D5.
    #[test]
    fn first_of_two_counts_and_odd_strings_pass_unchanged() {
        let strings = [
            c"A=1",
            c"A=2",
            c"",
            c"NOVALUE",
            c"LISTEN_FDS_EXTRA=3",
            c"XLISTEN_FDS=4",
            c"=x",
            c"B=\xff",
        ];
        let environ = Environ::new(&strings);
        assert_eq!(environ.var(b"A"), Some(b"1".as_slice()));
        assert_eq!(environ.var(b"LISTEN_FDS"), None);
        assert_eq!(environ.var(b"NOVALUE"), None);
        assert_eq!(environ.var(b"B"), Some(b"\xff".as_slice()));
        assert_eq!(environ.iter().collect::<Vec<_>>(), strings);
    }

    #[test]
    fn kernels_array_reads_like_the_slice() {
        let strings = [c"A=1", c"", c"B=2"];
        let mut array: Vec<*const c_char> = strings.iter().map(|string| string.as_ptr()).collect();
        array.push(ptr::null());
        // SAFETY: an array of C strings that ends in a null pointer, and outlives the view.
        let environ = unsafe { Environ::from_raw(array.as_ptr()) };
        assert_eq!(environ.iter().collect::<Vec<_>>(), strings);
        assert_eq!(environ.var(b"B"), Some(b"2".as_slice()));
    }
}
