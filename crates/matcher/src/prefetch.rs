//! Asking for memory before it is needed.
//!
//! Here is the only unsafe call of the crate: the intrinsic takes a pointer. Where there is no such
//! instruction nothing is asked for, and the answers are the same.

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// Has the line in which something begins brought near, without waiting for it.
#[inline]
pub(crate) fn prefetch<T>(place: &T) {
    prefetch_line(std::ptr::from_ref(place).cast());
}

/// Has every line of something brought near that begins where a line does.
#[inline]
pub(crate) fn prefetch_whole<T>(place: &T) {
    let first: *const i8 = std::ptr::from_ref(place).cast();
    for line in 0..size_of::<T>().div_ceil(LINE) {
        prefetch_line(first.wrapping_add(line * LINE));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
fn prefetch_line(place: *const i8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch changes nothing and cannot fault, whatever the address; the instruction is of SSE,
    // which every x86_64 has.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(place) }
}

/// Has nothing brought.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
const fn prefetch_line(_: *const i8) {}
