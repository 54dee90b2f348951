//! The application's name, with which each of its names in Redis begins.
//!
//! A message goes to every subscriber of its channel: of any application, in any database of the
//! same Redis. So two applications on one Redis must not use the same channels.

use std::env;

/// The environment variable with the application's name.
pub(crate) const APP_NAME: &str = "APP_NAME";

/// The name of an application without a name of its own.
pub(crate) const USUAL: &str = "socket-lab";

/// The value of `APP_NAME`, or `socket-lab` if there is none.
pub(crate) fn app_name() -> String {
    let name = env::var_os(APP_NAME).filter(|name| !name.is_empty());
    name.map_or(USUAL.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// A channel or key of this application, by its whole name: `socket-lab:my channel`.
pub fn prefixed(name: &str) -> String {
    prefixed_by(&app_name(), name)
}

/// The same for the application with that name.
pub(crate) fn prefixed_by(app: &str, name: &str) -> String {
    format!("{app}:{name}")
}
