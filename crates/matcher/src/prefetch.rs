//! Asking for memory before it is needed.
//!
//! Here is the only unsafe call of the crate: the intrinsic takes a pointer. Where there is no such
//! instruction nothing is asked for, and the answers are the same.

/// Has what stands at a place brought near, without waiting for it.
#[cfg(target_arch = "x86_64")]
#[inline]
#[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
pub(crate) fn prefetch<T>(place: &T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch changes nothing and cannot fault, and the pointer is of a reference besides; the
    // instruction is of SSE, which every x86_64 has.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast()) }
}

/// Has nothing brought.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(crate) const fn prefetch<T>(_: &T) {}
