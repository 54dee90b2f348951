//! The rules for nginx: every `listen` and every server is replaced or refused.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Misfit, Swap, Swaps,
    words::{Directive, Word, directives},
};

/// A config and the files that it includes.
pub(crate) struct Nginx<'a> {
    swaps: Swaps<'a>,
    upstreams: BTreeSet<String>,
    /// What `map`, `set` and their like put into a variable.
    values: BTreeMap<String, Vec<String>>,
    /// The targets of `proxy_pass` and its like, each after its directive.
    targets: Vec<(String, String)>,
    /// The names of the files in `include/` that are included, and those that are to be read yet.
    included: BTreeSet<String>,
    unread: Vec<String>,
}

/// A block in which a directive stands.
enum Block {
    /// `server { … }`, and whether it had a `listen`.
    Server(bool),
    /// `map $key $variable { … }`: its entries are no directives.
    Values(String),
    /// Its entries are no directives either.
    Types,
    Other,
}

impl<'a> Nginx<'a> {
    pub(crate) fn new(swaps: &'a [Swap]) -> Self {
        Self {
            swaps: Swaps::new(swaps),
            upstreams: BTreeSet::new(),
            values: BTreeMap::new(),
            targets: Vec::new(),
            included: BTreeSet::new(),
            unread: Vec::new(),
        }
    }

    /// Replaces the addresses in one file.
    pub(crate) fn file(&mut self, config: &str) -> Result<String, Misfit> {
        let mut rewritten = String::with_capacity(config.len());
        let mut blocks = Vec::new();
        let mut done = 0;
        for directive in directives(config) {
            let listen = self.directive(&directive, &mut blocks)?;
            for (index, word) in directive.words.iter().enumerate() {
                rewritten.push_str(&config[done..word.place.start]);
                done = word.place.end;
                match &listen {
                    Some(address) if index == 1 => rewritten.push_str(address),
                    _ => rewritten.push_str(&self.swaps.replace(&config[word.place.clone()])?),
                }
            }
        }
        rewritten.push_str(&config[done..]);
        Ok(rewritten)
    }

    /// A file that was included and not read yet.
    pub(crate) fn next_included(&mut self) -> Option<String> {
        self.unread.pop()
    }

    /// The last checks, after all files were read.
    pub(crate) fn finish(self) -> Result<(), Misfit> {
        for (directive, target) in &self.targets {
            if !self.is_ours(target) {
                return Err(Misfit::Passes(format!("{directive} {target}")));
            }
        }
        self.swaps.finish()
    }

    /// Checks a directive, and remembers what the last checks need. Returns what replaces the
    /// address of a `listen`.
    fn directive(
        &mut self,
        directive: &Directive<'_>,
        blocks: &mut Vec<Block>,
    ) -> Result<Option<String>, Misfit> {
        match blocks.last() {
            _ if directive.end == '}' => {
                if let Some(Block::Server(false)) = blocks.pop() {
                    return Err(Misfit::NoListen);
                }
            }
            _ if directive.name() == "include" => self.include(directive)?,
            Some(Block::Values(variable)) => {
                let value = directive.arguments().last();
                self.value(&variable.clone(), value);
            }
            Some(Block::Types) => {}
            _ if directive.end == '{' => blocks.push(self.block(directive)),
            _ => return self.simple(directive, blocks),
        }
        Ok(None)
    }

    fn block(&mut self, directive: &Directive<'_>) -> Block {
        let last = directive.arguments().last();
        match (directive.name(), last) {
            ("server", _) => Block::Server(false),
            ("upstream", Some(name)) => {
                self.upstreams.insert(name.text.to_owned());
                Block::Other
            }
            ("map" | "geo" | "split_clients", Some(variable)) => {
                Block::Values(variable.text.to_owned())
            }
            ("types", _) => Block::Types,
            _ => Block::Other,
        }
    }

    fn simple(
        &mut self,
        directive: &Directive<'_>,
        blocks: &mut [Block],
    ) -> Result<Option<String>, Misfit> {
        let first = directive.arguments().first().map_or("", |word| word.text);
        match directive.name() {
            "listen" => {
                if let Some(Block::Server(listens)) = blocks.last_mut() {
                    *listens = true;
                }
                let address = self.swaps.listen(first);
                return address
                    .ok_or_else(|| Misfit::Listens(directive.literal()))
                    .map(Some);
            }
            "server" if !is_address(first) => return Err(Misfit::Server(directive.literal())),
            "set" => self.value(first, directive.arguments().get(1)),
            name if name.ends_with("_pass") => {
                self.targets.push((name.to_owned(), first.to_owned()));
            }
            _ => {}
        }
        Ok(None)
    }

    fn value(&mut self, variable: &str, value: Option<&Word<'_>>) {
        if let Some(value) = value {
            let values = self.values.entry(variable.to_owned()).or_default();
            values.push(value.text.to_owned());
        }
    }

    fn include(&mut self, directive: &Directive<'_>) -> Result<(), Misfit> {
        let path = directive.arguments().first().map_or("", |word| word.text);
        let name = path.strip_prefix("../").unwrap_or(path);
        match name.strip_prefix("include/") {
            Some(name) if !name.contains(['/', '*', '?', '[']) => {
                if self.included.insert(name.to_owned()) {
                    self.unread.push(name.to_owned());
                }
                Ok(())
            }
            _ => Err(Misfit::Includes(directive.literal())),
        }
    }

    /// Whether a target of `proxy_pass` is an upstream, a server's address in the article, or a
    /// variable that is always one of them.
    fn is_ours(&self, target: &str) -> bool {
        let host = host(target);
        let variable = host.strip_prefix('$').map(|name| {
            let braced = name.strip_prefix('{');
            format!(
                "${}",
                braced
                    .and_then(|name| name.strip_suffix('}'))
                    .unwrap_or(name)
            )
        });
        let known = |host: &str| self.upstreams.contains(host) || is_address(host);
        match variable.map(|name| self.values.get(&name)) {
            Some(Some(values)) => values.iter().all(|value| known(self::host(value))),
            Some(None) => false,
            None => known(host),
        }
    }
}

/// `nodes` of `http://nodes/path` or `http://nodes$request_uri`.
fn host(target: &str) -> &str {
    let host = target.split_once("://").map_or(target, |(_, host)| host);
    let host = host.split('/').next().unwrap_or(host);
    let paths = ["$request_uri", "$document_uri", "$uri"];
    let path = paths.iter().find_map(|path| host.strip_suffix(path));
    path.filter(|host| !host.is_empty()).unwrap_or(host)
}

/// Whether a text is `127.0.0.1:<port>` and nothing else. Replacing it proves that the stage has
/// a server there.
fn is_address(text: &str) -> bool {
    super::next_literal(text).is_some_and(|place| place == (0..text.len()))
}
