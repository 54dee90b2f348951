//! What a learner can choose on the page.

use crate::trial::Question;

/// What a learner can choose on a chapter's page.
pub struct Scene {
    /// The balancing methods. nginx uses the first one when the page opens.
    pub methods: &'static [Method],
    /// How clients send messages to each other.
    pub talk: Talk,
    /// A setting of the servers.
    pub switch: Option<Switch>,
    /// The questions. A learner answers each one before its experiment runs.
    pub questions: &'static [Question],
}

impl Scene {
    /// A page without choices.
    pub const EMPTY: Self = Self {
        methods: &[],
        talk: Talk::None,
        switch: None,
        questions: &[],
    };
}

/// A way in which nginx chooses a server.
pub struct Method {
    /// Its name on the page.
    pub name: &'static str,
    /// The file in `nginx/`.
    pub config: &'static str,
    /// The change to the file's text.
    pub edit: fn(&str) -> String,
}

impl Method {
    /// A file of `nginx/`, unchanged.
    pub const fn file(name: &'static str, config: &'static str) -> Self {
        Self {
            name,
            config,
            edit: str::to_owned,
        }
    }

    /// The config's text from the repository, without comments.
    pub(crate) fn text(&self) -> String {
        let file = lab::nginx_config(self.config).unwrap_or_default();
        without_comments(&(self.edit)(&file))
    }
}

/// How clients send messages to each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Talk {
    /// They send none: they speak plain HTTP.
    None,
    /// The event `message` with a text, for everyone else.
    Everyone,
    /// The event `say` with `{"to", "text"}`, for one user.
    Private,
}

/// A setting of the servers: an environment variable.
pub struct Switch {
    /// What the page calls it.
    pub label: &'static str,
    /// The variable's name.
    pub variable: &'static str,
    /// The values to choose from.
    pub choices: &'static [&'static str],
    /// The value that the servers have when the page opens.
    pub chosen: &'static str,
}

/// A config's text without its comments.
pub(crate) fn without_comments(config: &str) -> String {
    let lines = config
        .lines()
        .filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}
