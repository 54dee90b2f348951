//! Why a config does not fit the stage.

use std::fmt;

/// Why a config does not fit the stage.
#[derive(Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The config does not name an address that the stage uses.
    Missing(String),
    /// The config names an address that the stage does not use.
    Left(String),
    /// The config listens elsewhere than at the article's port of this machine.
    Listens(String),
    /// The config names a server in another way than by its address in the article.
    Server(String),
    /// The config passes requests to something that is neither a server nor an upstream.
    Passes(String),
    /// A `server` block says nowhere where it listens, and nginx's default is all addresses.
    NoListen,
    /// The config includes a file whose addresses are not replaced.
    Includes(String),
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(literal) => write!(
                f,
                "`{literal}` is missing: the stage uses this address, so the config must name it"
            ),
            Self::Left(literal) => write!(
                f,
                "`{literal}` is named, but the stage has nothing there: remove the line"
            ),
            Self::Listens(literal) => write!(
                f,
                "`{literal}` is not the address of the stage, and perhaps other machines can reach it: \
                 name port 3000 of 127.0.0.1, or remove the line"
            ),
            Self::Server(literal) => write!(
                f,
                "`{literal}` is no address of the article, such as 127.0.0.1:8000: write that, or \
                 remove the line"
            ),
            Self::Passes(literal) => write!(
                f,
                "`{literal}` names no upstream of this config: name one, or a variable that a `map` \
                 or `set` in this config gives only names of upstreams"
            ),
            Self::NoListen => write!(
                f,
                "a `server` block has no `listen`, so nginx would listen on all addresses: write \
                 `listen 3000;` in it"
            ),
            Self::Includes(literal) => write!(
                f,
                "`{literal}` is not a file in nginx/include/, so its addresses would stay: move it \
                 there, and name it with its path from this config"
            ),
        }
    }
}

impl std::error::Error for Misfit {}
