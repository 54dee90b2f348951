//! Reads the Makefile that nginx's configure has written. The version of nginx is fixed, so the form
//! of this file is fixed too: variables, and one line that links.

/// A C file, and the object file to compile it to.
pub(crate) struct Unit {
    pub(crate) source: String,
    pub(crate) object: String,
}

pub(crate) struct Makefile(String);

impl Makefile {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.replace("\\\n", " "))
    }

    pub(crate) fn variable(&self, name: &str) -> impl Iterator<Item = &str> {
        self.words_after(&format!("{name} ="))
    }

    /// nginx's C files, found from the objects that are linked.
    pub(crate) fn units(&self) -> impl Iterator<Item = Unit> {
        let objects = self.link().filter_map(|word| word.strip_suffix(".o"));
        objects.map(|object| {
            // The list of modules is generated: its source is in the same folder as its object.
            let source = match object {
                "objs/ngx_modules" => object,
                _ => object.trim_start_matches("objs/"),
            };
            Unit {
                source: format!("{source}.c"),
                object: format!("{object}.o"),
            }
        })
    }

    /// The options of the link command: the output's name and the libraries of the machine.
    pub(crate) fn link_options(&self) -> impl Iterator<Item = &str> {
        // PCRE2's objects take the place of its archive.
        self.link()
            .filter(|word| word.strip_suffix(".o").is_none() && *word != "pcre2/.libs/libpcre2-8.a")
    }

    fn link(&self) -> impl Iterator<Item = &str> {
        self.words_after("\t$(LINK)")
    }

    fn words_after(&self, start: &str) -> impl Iterator<Item = &str> + use<'_> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(start));
        line.expect("configure writes this line").split_whitespace()
    }
}
