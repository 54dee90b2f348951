//! `deploy/compose.yaml`, brought up as a Compose project of its own.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::bench;

/// The names of Compose's program.
const PROGRAMS: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
/// The first version that can wait until all containers are healthy.
const OLDEST: u32 = 2;

/// A running project. Dropping it removes all its containers, networks, volumes and images.
pub struct Project {
    program: &'static [&'static str],
    /// Its name, in lower case, because Compose requires that.
    pub name: String,
    scratch: tempfile::TempDir,
}

impl Project {
    /// A project, or `None` if there is no Docker engine or no Compose. Then a line says so, and in CI,
    /// which has both, the test fails.
    pub fn new(name: &str) -> Option<Self> {
        if env::var("LAB_PARTS").as_deref() == Ok("local") {
            // Not `eprintln!`, which libtest keeps to itself.
            let _unread = writeln!(
                std::io::stderr(),
                "NOT TESTED deploy/ with Compose: LAB_PARTS=local"
            );
            return None;
        }
        let program = bench::engine().and_then(|()| compose_program());
        let program = match program {
            Ok(program) => program,
            Err(reason) => {
                crate::untested("deploy/ with Compose", &reason);
                return None;
            }
        };
        Some(Self {
            program,
            name: format!("{name}-{}", std::process::id()),
            scratch: tempfile::tempdir().expect("a folder"),
        })
    }

    /// nginx's URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.compose(&["port", "nginx", "3000"]).trim())
    }

    /// Builds the image, up to the Dockerfile's stage `prebuilt`, with programs that cargo has built
    /// here. Without a registry there is no image with Rust to build them in.
    pub fn build_prebuilt(&self, server: &Path, healthy: &Path) {
        let context = self.scratch.path().join("context");
        fs::create_dir_all(context.join("pages")).expect("a folder");
        fs::copy(server, context.join("server")).expect("the server is copied");
        fs::copy(healthy, context.join("healthy")).expect("the health check is copied");
        let pages = root().join("lab/pages");
        for file in ["package-lock.json", "node_modules"] {
            if pages.join(file).exists() {
                let mut copy = Command::new("cp");
                copy.arg("-r").arg(pages.join(file));
                done(copy.arg(context.join("pages")));
            }
        }
        let mut build = Command::new("docker");
        // Without BuildKit, which Debian does not have. Only a later stage needs it.
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

    /// Brings it up, and waits until it is healthy. Redis has a port here too, for the test's own
    /// messages.
    pub fn up(&self, more: &[&str]) {
        let published = self.scratch.path().join("published.yaml");
        let text = "services: {redis: {ports: [\"127.0.0.1::6379\"]}}\n";
        fs::write(&published, text).expect("a file is written");
        let published = published.to_string_lossy().into_owned();
        let mut arguments = vec!["-f", &published, "up", "--wait", "--no-build"];
        arguments.extend(more);
        self.compose(&arguments);
    }

    /// The URL of its Redis.
    pub fn redis(&self) -> String {
        format!(
            "redis://{}",
            self.compose(&["port", "redis", "6379"]).trim()
        )
    }

    /// The IDs of a service's running containers.
    pub fn containers(&self, service: &str) -> Vec<String> {
        let ids = self.compose(&["ps", "--quiet", service]);
        ids.lines().map(str::to_owned).collect()
    }

    /// Runs Compose with these arguments. Returns what it prints.
    pub fn compose(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(self.program[0]);
        command.args(&self.program[1..]).arg("-f");
        command.arg(root().join("deploy/compose.yaml"));
        done(self.with_environment(command.args(arguments)))
    }

    /// Runs `deploy/roll` for this project.
    pub fn roll(&self) -> String {
        done(&mut self.rolling(&[]))
    }

    /// The same with further environment variables. Returns the exit code and what it prints to stderr.
    pub fn try_to_roll(&self, environment: &[(&str, &str)]) -> (Option<i32>, String) {
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
            // Docker chooses a free port.
            .env("HTTP_PORT", "0")
            .env_remove("CHAT_SECRET")
            .env_remove("ALLOWED_ORIGIN")
    }

    /// The containers, networks and volumes that Docker still has of it, one in each line.
    pub fn left(&self) -> String {
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
        // Also after a failed test. A second failure would hide the first one, so it is ignored.
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

/// Runs a command, which must succeed. Returns what it prints to stdout.
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

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
