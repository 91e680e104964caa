//! Hints about memory, to the processor and to the kernel: what is needed soon, and what is large.
//!
//! Here are the only unsafe calls of the crate. Where there is no such instruction or system call nothing is
//! asked for, and the answers are the same.

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

/// So many copies of a value, in huge pages where they are many and the kernel gives them.
///
/// A table that is looked into at random costs a walk of the page tables for most lookups when its pages are
/// more than a core keeps translations of: those of 12 MiB on AMD Zen 4, with pages of 4 KiB.
pub(crate) fn many<T: Copy>(value: T, count: usize) -> Vec<T> {
    let mut all = Vec::with_capacity(count);
    // Before anything is written: a page that is there stays small.
    ask_for_huge_pages(all.spare_capacity_mut());
    all.resize(count, value);
    all
}

/// Asks the kernel to back what lies in whole huge pages with them (`madvise(2)`, `MADV_HUGEPAGE`).
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the system call takes a pointer")]
fn ask_for_huge_pages<T>(room: &mut [T]) {
    use std::ptr::NonNull;

    use nix::sys::mman::{MmapAdvise, madvise};

    /// Bytes of a huge page on x86-64, and on others a multiple of a page at least.
    const HUGE_PAGE: usize = 2 << 20;
    let first: NonNull<u8> = NonNull::from(&mut *room).cast();
    let skipped = first.align_offset(HUGE_PAGE);
    let Some(bytes) = size_of_val(room).checked_sub(skipped) else {
        return;
    };
    let bytes = bytes - bytes % HUGE_PAGE;
    if bytes > 0 {
        // SAFETY: the pages from there on are within `room`, which is borrowed; how they are backed changes
        // neither what they hold nor where they are. A kernel that has no huge pages says so, and that is all.
        let _ = unsafe {
            let place = first.add(skipped).cast();
            madvise(place, bytes, MmapAdvise::MADV_HUGEPAGE)
        };
    }
}

/// Asks for nothing.
#[cfg(not(target_os = "linux"))]
const fn ask_for_huge_pages<T>(_: &mut [T]) {}
