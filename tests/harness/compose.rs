//! What `deploy/compose.yaml` names, brought up in containers of a project of its own.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::harness::{bench, node};

/// Compose's own program, found as `docker compose` or `docker-compose`.
const PROGRAMS: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
/// The first that can wait until all are healthy.
const OLDEST: u32 = 2;

/// A running project. Dropping it takes everything of it away.
pub(crate) struct Project {
    program: &'static [&'static str],
    /// In lower case, as Compose wants it.
    pub(crate) name: String,
    scratch: tempfile::TempDir,
}

impl Project {
    /// `None` where there is no engine or no Compose: said in a line, and a failure in CI,
    /// which has both.
    pub(crate) fn new(name: &str) -> Option<Self> {
        if env::var("LAB_PARTS").as_deref() == Ok("local") {
            // Not `eprintln!`, which libtest keeps to itself.
            let _unread = writeln!(std::io::stderr(), "Compose is not tried: LAB_PARTS=local");
            return None;
        }
        let program = bench::engine().and_then(|()| compose_program());
        let program = match program {
            Ok(program) => program,
            Err(reason) => {
                node::untested("with Compose", &reason);
                return None;
            }
        };
        Some(Self {
            program,
            name: format!("{name}-{}", std::process::id()),
            scratch: tempfile::tempdir().expect("a folder"),
        })
    }

    /// Where nginx answers, once it is up.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.compose(&["port", "nginx", "3000"]).trim())
    }

    /// An image of our own Dockerfile's last stage but one, around a program that was built
    /// outside: where no registry answers, there is no Rust to build it with.
    pub(crate) fn build_prebuilt(&self, server: &Path, healthy: &Path) {
        let context = self.scratch.path().join("context");
        fs::create_dir_all(context.join("pages")).expect("a folder");
        fs::copy(server, context.join("server")).expect("the server is copied");
        fs::copy(healthy, context.join("healthy")).expect("the health check is copied");
        let pages = root().join("pages");
        for file in ["package-lock.json", "node_modules"] {
            if pages.join(file).exists() {
                let mut copy = Command::new("cp");
                copy.arg("-r").arg(pages.join(file));
                done(copy.arg(context.join("pages")));
            }
        }
        let mut build = Command::new("docker");
        // Without BuildKit, which Debian does not have; only the last stage needs it.
        build.env("DOCKER_BUILDKIT", "0");
        build.args(["build", "--quiet", "--target", "prebuilt"]);
        if let Ok(runtime) = env::var("RUNTIME_IMAGE") {
            build.arg("--build-arg");
            build.arg(format!("RUNTIME_IMAGE={runtime}"));
        }
        build.args(["--tag", &self.name, "--file"]);
        build.arg(root().join("deploy/Dockerfile")).arg(context);
        done(&mut build);
    }

    /// Brings it up, healthy. Redis is published as well, for what a test has to say there.
    pub(crate) fn up(&self, more: &[&str]) {
        let published = self.scratch.path().join("published.yaml");
        let text = "services: {redis: {ports: [\"127.0.0.1::6379\"]}}\n";
        fs::write(&published, text).expect("a file is written");
        let published = published.to_string_lossy().into_owned();
        let mut arguments = vec!["-f", &published, "up", "--wait", "--no-build"];
        arguments.extend(more);
        self.compose(&arguments);
    }

    /// The URL of its Redis.
    pub(crate) fn redis(&self) -> String {
        format!(
            "redis://{}",
            self.compose(&["port", "redis", "6379"]).trim()
        )
    }

    /// The containers of a service that run, by ID.
    pub(crate) fn containers(&self, service: &str) -> Vec<String> {
        let ids = self.compose(&["ps", "--quiet", service]);
        ids.lines().map(str::to_owned).collect()
    }

    /// What Compose says to these arguments.
    pub(crate) fn compose(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(self.program[0]);
        command.args(&self.program[1..]).arg("-f");
        command.arg(root().join("deploy/compose.yaml"));
        done(self.with_environment(command.args(arguments)))
    }

    /// `deploy/roll`, for this project.
    pub(crate) fn roll(&self) -> String {
        done(&mut self.rolling(&[]))
    }

    /// The same with more in the environment: its exit code, and what it complains of.
    pub(crate) fn try_to_roll(&self, environment: &[(&str, &str)]) -> (Option<i32>, String) {
        let output = self.rolling(environment).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    }

    fn rolling(&self, environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(root().join("deploy/roll"));
        command.env("COMPOSE", self.program.join(" "));
        self.with_environment(&mut command);
        command.envs(environment.iter().copied());
        command
    }

    fn with_environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("COMPOSE_PROJECT_NAME", &self.name)
            .env("SERVER_IMAGE", &self.name)
            // A free one, which Docker chooses.
            .env("HTTP_PORT", "0")
            .env_remove("CHAT_SECRET")
            .env_remove("ALLOWED_ORIGIN")
    }

    /// What Docker still has of it: containers, networks and volumes, in a line each.
    pub(crate) fn left(&self) -> String {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let lists: [&[&str]; 3] = [&["ps", "--all"], &["network", "ls"], &["volume", "ls"]];
        let lists = lists.map(|list| {
            let mut command = Command::new("docker");
            done(command.args(list).args(["--quiet", "--filter", &label]))
        });
        lists.concat()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // A test that fails leaves nothing either; a second failure would hide the first.
        let mut down = Command::new(self.program[0]);
        down.args(&self.program[1..]).arg("-f");
        down.arg(root().join("deploy/compose.yaml"));
        down.args(["down", "--volumes", "--timeout", "5"]);
        let _gone = self.with_environment(&mut down).output();
        let _gone = Command::new("docker")
            .args(["image", "rm", "--force", &self.name])
            .output();
    }
}

fn compose_program() -> Result<&'static [&'static str], String> {
    let found = PROGRAMS.into_iter().find(|program| {
        let mut version = Command::new(program[0]);
        version.args(&program[1..]).args(["version", "--short"]);
        let said = version.output().ok().filter(|said| said.status.success());
        let said = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
        let major =
            said.and_then(|said| said.trim_start_matches('v').split('.').next()?.parse().ok());
        major.is_some_and(|major: u32| major >= OLDEST)
    });
    found.ok_or_else(|| "neither docker compose nor docker-compose of version 2 is here".to_owned())
}

/// Runs it to its end, which must be a good one; what it said on stdout.
fn done(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.stdin(Stdio::null()).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}\n{stderr}");
    String::from_utf8_lossy(&stdout).into_owned()
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
