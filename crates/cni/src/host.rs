//! What a plugin works on: the emulated kernel, opened when it is first needed.

use crate::kernel::{Kernel, NoNamespace};
use crate::protocol::Options;
use crate::{CniError, StateError};

/// The emulated host during one call.
#[derive(Debug)]
pub(crate) struct Host<'o> {
    options: &'o Options,
    kernel: Option<Kernel>,
}

impl<'o> Host<'o> {
    pub(crate) const fn new(options: &'o Options) -> Self {
        Self {
            options,
            kernel: None,
        }
    }

    /// All namespaces. The first call waits for other processes that use them.
    pub(crate) fn kernel(&mut self) -> Result<&mut Kernel, CniError> {
        if self.kernel.is_none() {
            self.kernel = Some(Kernel::open(&self.options.state)?);
        }
        Ok(self.kernel.as_mut().expect("it was opened"))
    }

    /// The same with a container's namespace entered.
    ///
    /// # Errors
    /// When there is none, with the words that the plugins put before.
    pub(crate) fn enter(&mut self, netns: &str) -> Result<&mut Kernel, CniError> {
        let kernel = self.kernel()?;
        match kernel.enter(netns)? {
            Ok(()) => Ok(kernel),
            Err(NoNamespace(why)) => {
                let why = format!("failed to open netns {netns:?}: {why}");
                Err(CniError::other(why))
            }
        }
    }

    /// The same for a namespace that may be gone, as DEL may meet it.
    pub(crate) fn enter_if_there(&mut self, netns: &str) -> Result<Option<&mut Kernel>, CniError> {
        if netns.is_empty() {
            return Ok(None);
        }
        let kernel = self.kernel()?;
        Ok(kernel.enter(netns)?.is_ok().then_some(kernel))
    }

    /// Writes what has changed.
    pub(crate) fn commit(&mut self) -> Result<(), StateError> {
        match &mut self.kernel {
            Some(kernel) => kernel.commit(),
            None => Ok(()),
        }
    }
}
