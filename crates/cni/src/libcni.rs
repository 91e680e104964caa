//! The runtime's side: the plugins of a list in order, each with the result of the one before, and a
//! cache of what ADD gave.
//!
//! # Map
//! - `list`: configuration files.
//! - `cache`: results that later calls need.
//! - `exec`: one call of one plugin.
//! - `event`: what kubelet tells of a failure.
//!
//! Source: libcni/{api,conf}.go and pkg/invoke of containernetworking/cni 1.3.0; messages as there.
//!
//! # Departures
//! - A plugin whose type is one of podwire's own is podwire's, whatever CNI_PATH has: the real program
//!   would reach for the real kernel.

pub(crate) mod cache;
mod event;
pub(crate) mod exec;
pub(crate) mod list;

use serde_json::{Map, Value, json};

use self::cache::Attachment;
pub use self::event::{Shim, sandbox_event};
pub use self::list::{ListError, NetworkList};
use crate::conf::version_of;
use crate::json::member;
use crate::protocol::{
    Environment, Options, validate_container_id, validate_interface_name, validate_network_name,
};
use crate::result::CniResult;
use crate::version::at_least;
use crate::{CniError, Reply};

/// What a runtime knows of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runtime {
    /// The container.
    pub container_id: String,
    /// Its namespace.
    pub netns: String,
    /// The device's name inside.
    pub ifname: String,
    /// `CNI_ARGS`.
    pub args: String,
    /// `CNI_PATH`.
    pub path: String,
    /// Values for the capabilities that plugins say they have.
    pub capabilities: Map<String, Value>,
    /// Which runtime it is.
    pub shim: Shim,
}

/// What a runtime asks of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Attach the container.
    Add,
    /// Is it attached as it was?
    Check,
    /// Detach it.
    Del,
    /// Could it be attached?
    Status,
    /// Detach all others.
    Gc,
}

/// Does what a runtime asks for.
#[must_use]
pub fn run(action: Action, list: &NetworkList, runtime: &Runtime, options: &Options) -> Reply {
    let library = Library { options };
    let nothing = |()| String::new();
    match action {
        Action::Add => library.add(list, runtime),
        Action::Check => library.check(list, runtime).map(nothing),
        Action::Del => library.del(list, runtime).map(nothing),
        Action::Status => library.status(list, runtime).map(nothing),
        Action::Gc => library.gc(list, runtime).map(nothing),
    }
    .into()
}

struct Library<'o> {
    options: &'o Options,
}

impl Library<'_> {
    fn add(&self, list: &NetworkList, runtime: &Runtime) -> Result<String, CniError> {
        let mut previous: Option<(String, CniResult)> = None;
        for plugin in &list.plugins {
            let result = self.add_one(list, plugin, previous.as_ref(), runtime);
            previous = Some(result.map_err(|error| failed(plugin, "add", error, runtime.shim))?);
        }
        let Some((version, result)) = previous else {
            return Ok(String::new());
        };
        let value = result.to_value(&version)?;
        cache::put(self.options, list, runtime, &value).map_err(|error| {
            let why = format!(
                "failed to set network {:?} cached result: {error}",
                list.name
            );
            CniError::other(why)
        })?;
        result.write(&version, crate::PluginsVersion::V1_9_1)
    }

    fn add_one(
        &self,
        list: &NetworkList,
        plugin: &Value,
        previous: Option<&(String, CniResult)>,
        runtime: &Runtime,
    ) -> Result<(String, CniResult), CniError> {
        let found = exec::find(list::type_of(plugin), &runtime.path).map_err(CniError::other)?;
        validate_container_id(&runtime.container_id)?;
        validate_network_name(&list.name)?;
        validate_interface_name(&runtime.ifname)?;
        let previous = match previous {
            Some((version, result)) => Some(result.to_value(version)?),
            None => None,
        };
        let conf = one_conf(list, plugin, previous.as_ref(), runtime);
        let env = environment("ADD", runtime);
        let stdout = exec::call(&found, &conf, &env, self.options)?;
        exec::result_of(&stdout, &conf)
    }

    fn check(&self, list: &NetworkList, runtime: &Runtime) -> Result<(), CniError> {
        if !at_least(&list.version, "0.4.0").map_err(CniError::other)? {
            let version = &list.version;
            return Err(CniError::other(format!(
                "configuration version {version:?} does not support the CHECK command"
            )));
        }
        if list.disable_check {
            return Ok(());
        }
        let cached = self.cached(list, runtime).map_err(|why| {
            CniError::other(format!(
                "failed to get network {:?} cached result: {why}",
                list.name
            ))
        })?;
        let each = |plugin| self.act("CHECK", list, plugin, cached.as_ref(), runtime);
        list.plugins.iter().try_for_each(each)
    }

    fn del(&self, list: &NetworkList, runtime: &Runtime) -> Result<(), CniError> {
        let mut cached = None;
        if at_least(&list.version, "0.4.0").map_err(CniError::other)? {
            cached = match self.cached(list, runtime) {
                Ok(cached) => cached,
                Err(_) => {
                    cache::forget(self.options, &list.name, runtime);
                    None
                }
            };
        }
        for plugin in list.plugins.iter().rev() {
            self.act("DEL", list, plugin, cached.as_ref(), runtime)
                .map_err(|error| failed(plugin, "delete", error, runtime.shim))?;
        }
        if cached.is_some() {
            cache::forget(self.options, &list.name, runtime);
        }
        Ok(())
    }

    fn status(&self, list: &NetworkList, runtime: &Runtime) -> Result<(), CniError> {
        if !at_least(&list.version, "1.1.0").unwrap_or_default() {
            return Ok(());
        }
        let nobody = nobody(runtime);
        let each = |plugin| {
            let found =
                exec::find(list::type_of(plugin), &runtime.path).map_err(CniError::other)?;
            let conf = injected(list, plugin, &[]);
            let env = environment("STATUS", &nobody);
            exec::call(&found, &conf, &env, self.options).map(|_| ())
        };
        list.plugins.iter().try_for_each(each)
    }

    /// Detaches everyone that the cache knows but the runtime's container.
    fn gc(&self, list: &NetworkList, runtime: &Runtime) -> Result<(), CniError> {
        let mut valid = Vec::new();
        if !runtime.container_id.is_empty() {
            valid.push(json!({"containerID": runtime.container_id, "ifname": runtime.ifname}));
        }
        let mut errors = Vec::new();
        for Attachment {
            network,
            runtime: stale,
        } in cache::all(self.options, &runtime.path)?
        {
            let is_valid =
                stale.container_id == runtime.container_id && stale.ifname == runtime.ifname;
            if network != list.name || is_valid {
                continue;
            }
            if let Err(error) = self.del(list, &stale) {
                let (id, device) = (&stale.container_id, &stale.ifname);
                errors.push(format!(
                    "failed to delete stale attachment {id} {device}: {error}"
                ));
            }
        }
        if at_least(&list.version, "1.1.0").unwrap_or_default() && !list.disable_gc {
            let valid = Value::from(valid);
            let inject = [
                ("cni.dev/valid-attachments", valid.clone()),
                ("cni.dev/attachments", valid),
            ];
            let nobody = nobody(runtime);
            for plugin in &list.plugins {
                let kind = list::type_of(plugin);
                let conf = injected(list, plugin, &inject);
                let env = environment("GC", &nobody);
                let outcome = exec::find(kind, &runtime.path)
                    .map_err(CniError::other)
                    .and_then(|found| exec::call(&found, &conf, &env, self.options));
                if let Err(error) = outcome {
                    errors.push(format!("failed to GC plugin {kind}: {error}"));
                }
            }
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(CniError::other(errors.join("\n")))
    }

    fn act(
        &self,
        command: &str,
        list: &NetworkList,
        plugin: &Value,
        cached: Option<&Value>,
        runtime: &Runtime,
    ) -> Result<(), CniError> {
        let found = exec::find(list::type_of(plugin), &runtime.path).map_err(CniError::other)?;
        let conf = one_conf(list, plugin, cached, runtime);
        let env = environment(command, runtime);
        exec::call(&found, &conf, &env, self.options).map(|_| ())
    }

    /// The cached result in the form of the list's version.
    fn cached(&self, list: &NetworkList, runtime: &Runtime) -> Result<Option<Value>, String> {
        let Some(value) = cache::get(self.options, &list.name, runtime)? else {
            return Ok(None);
        };
        let result = CniResult::read(&version_of(&value)?, &value)?;
        let value = result.to_value(&list.version).map_err(|error| {
            let version = &list.version;
            format!("failed to convert cached result to config version {version:?}: {error}")
        })?;
        Ok(Some(value))
    }
}

/// A plugin that failed, as the library says it. That of dockershim's days passes the error on.
fn failed(plugin: &Value, verb: &str, error: CniError, shim: Shim) -> CniError {
    if shim == Shim::Dockershim {
        return error;
    }
    let mut plugin_is = format!("type={:?}", list::type_of(plugin));
    if let Some(name) = member(plugin, "name")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
    {
        plugin_is.push_str(&format!(" name={name:?}"));
    }
    let why = format!("plugin {plugin_is} failed ({verb}): {error}");
    CniError::new(error.code, why, "")
}

/// A plugin's configuration with the list's name and version, and what else is given.
fn injected(list: &NetworkList, plugin: &Value, more: &[(&str, Value)]) -> Value {
    let mut conf = plugin.as_object().cloned().unwrap_or_default();
    conf.insert("name".to_owned(), json!(list.name));
    conf.insert("cniVersion".to_owned(), json!(list.version));
    for (key, value) in more {
        conf.insert((*key).to_owned(), value.clone());
    }
    conf.into()
}

/// What a plugin gets on standard input: with the result before it, and the values of those
/// capabilities that it says it has.
fn one_conf(
    list: &NetworkList,
    plugin: &Value,
    previous: Option<&Value>,
    runtime: &Runtime,
) -> Value {
    let mut more = Vec::new();
    if let Some(previous) = previous {
        more.push(("prevResult", previous.clone()));
    }
    let own = member(plugin, "capabilities");
    let has = |capability: &str| own.is_some_and(|own| own[capability] == Value::Bool(true));
    let values = runtime
        .capabilities
        .iter()
        .filter(|(capability, _)| has(capability));
    let values: Map<String, Value> = values.map(|(k, v)| (k.clone(), v.clone())).collect();
    if !values.is_empty() {
        more.push(("runtimeConfig", values.into()));
    }
    injected(list, plugin, &more)
}

fn environment(command: &str, runtime: &Runtime) -> Environment {
    Environment {
        command: command.to_owned(),
        container_id: runtime.container_id.clone(),
        netns: runtime.netns.clone(),
        ifname: runtime.ifname.clone(),
        args: runtime.args.clone(),
        path: runtime.path.clone(),
    }
}

/// The runtime without a container, for verbs that are about none.
fn nobody(runtime: &Runtime) -> Runtime {
    Runtime {
        path: runtime.path.clone(),
        ..Runtime::default()
    }
}
