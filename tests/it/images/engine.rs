use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use steadystate::error::Kind;
use steadystate::image::engine::{self, Build, Builder, Command, Engine, Secret};
use steadystate::image::{Built, digest};

use super::Workshop;

fn build() -> Build {
    Build {
        context: "app".into(),
        file: Some("app/Dockerfile.prod".into()),
        target: Some("final".into()),
        build_args: BTreeMap::from([("NPM_TOKEN".to_owned(), "s3cret".into()), ("MODE".to_owned(), "fast".into())]),
        labels: BTreeMap::from([("team".into(), "web".into())]),
        platform: Some("linux/arm64".parse().unwrap()),
        ..Build::default()
    }
}

fn engine(builder: Builder) -> Engine {
    Engine { builder, program: builder.name().into(), buildx: false }
}

fn docker(workshop: &Workshop) -> Engine {
    Engine { program: workshop.path("project/docker").into(), ..engine(Builder::Docker) }
}

fn line(command: &Command) -> String {
    let words: Vec<_> = command.arguments.iter().map(|word| word.to_string_lossy()).collect();
    format!("{} {}", command.program.to_string_lossy(), words.join(" "))
}

fn built(engine: &Engine, build: &Build) -> String {
    line(&engine.build(build, Path::new("/tmp/id"), Path::new("/p")).unwrap())
}

#[test]
fn command_lines() {
    let bare = Build { context: ".".into(), ..Build::default() };
    let whole = Build {
        secrets: BTreeMap::from([
            ("npm".to_owned(), Secret::File("/run/npm".into())),
            ("token".to_owned(), Secret::Environment("NPM_TOKEN".into())),
        ]),
        cache_from: vec!["type=registry,ref=r/cache".into()],
        cache_to: vec!["type=registry,ref=r/cache,mode=max".into()],
        ..build()
    };
    let buildx = Engine { buildx: true, ..engine(Builder::Docker) };
    let mut lines = vec![built(&engine(Builder::Docker), &build()), built(&buildx, &whole)];
    for builder in Builder::ALL {
        let engine = engine(builder);
        let folder = Path::new("/p");
        lines.push(line(&Engine::probe(builder, builder.name())));
        lines.push(built(&engine, &bare));
        lines.push(line(&engine.inspect("sha256:1f", folder)));
        lines.push(line(&engine.save("sha256:1f", folder)));
        if builder != Builder::Docker {
            lines.push(built(&engine, &whole));
        }
    }
    insta::assert_snapshot!(lines.join("\n"), @"
    docker build --iidfile /tmp/id --file app/Dockerfile.prod --target final --platform linux/arm64 --build-arg MODE --build-arg NPM_TOKEN --label team=web -- app
    docker buildx build --load --iidfile /tmp/id --metadata-file /tmp/id.metadata --file app/Dockerfile.prod --target final --platform linux/arm64 --build-arg MODE --build-arg NPM_TOKEN --secret id=npm,src=/run/npm --secret id=token,env=NPM_TOKEN --label team=web --cache-from type=registry,ref=r/cache --cache-to type=registry,ref=r/cache,mode=max -- app
    docker version --format {{.Server.Version}}
    docker build --iidfile /tmp/id -- .
    docker image inspect -- sha256:1f
    docker save -- sha256:1f
    podman info
    podman build --iidfile /tmp/id -- .
    podman image inspect -- sha256:1f
    podman save --quiet --format docker-archive -- sha256:1f
    podman build --iidfile /tmp/id --file app/Dockerfile.prod --target final --platform linux/arm64 --build-arg MODE --build-arg NPM_TOKEN --secret id=npm,src=/run/npm --secret id=token,env=NPM_TOKEN --label team=web --cache-from r/cache --cache-to r/cache -- app
    buildah info
    buildah build --layers --iidfile /tmp/id -- .
    buildah inspect --type image -- sha256:1f
    buildah push --quiet -- sha256:1f docker-archive:/dev/stdout
    buildah build --layers --iidfile /tmp/id --file app/Dockerfile.prod --target final --platform linux/arm64 --build-arg MODE --build-arg NPM_TOKEN --secret id=npm,src=/run/npm --secret id=token,env=NPM_TOKEN --label team=web --cache-from r/cache --cache-to r/cache -- app
    finch info --format {{.ServerVersion}}
    finch build --iidfile /tmp/id -- .
    finch image inspect -- sha256:1f
    finch save -- sha256:1f
    finch build --iidfile /tmp/id --file app/Dockerfile.prod --target final --platform linux/arm64 --build-arg MODE --build-arg NPM_TOKEN --secret id=npm,src=/run/npm --secret id=token,env=NPM_TOKEN --label team=web --cache-from type=registry,ref=r/cache --cache-to type=registry,ref=r/cache,mode=max -- app
    nerdctl info --format {{.ServerVersion}}
    nerdctl build --iidfile /tmp/id -- .
    nerdctl image inspect -- sha256:1f
    nerdctl save -- sha256:1f
    nerdctl build --iidfile /tmp/id --file app/Dockerfile.prod --target final --platform linux/arm64 --build-arg MODE --build-arg NPM_TOKEN --secret id=npm,src=/run/npm --secret id=token,env=NPM_TOKEN --label team=web --cache-from type=registry,ref=r/cache --cache-to type=registry,ref=r/cache,mode=max -- app
    ");
}

/// Who knows `SOURCE_DATE_EPOCH` gets it in the way that it knows; docker's classic builder would only warn of it.
#[test]
fn a_time_is_given_to_who_knows_it() {
    let timed = Build { context: ".".into(), epoch: Some(1_700_000_000), ..Build::default() };
    let mut own = timed.clone();
    own.build_args.insert("SOURCE_DATE_EPOCH".to_owned(), "1".into());
    let mut lines = Vec::new();
    for (builder, buildx) in Builder::ALL.map(|builder| (builder, false)).into_iter().chain([(Builder::Docker, true)]) {
        let engine = Engine { buildx, ..engine(builder) };
        for build in [&timed, &own] {
            let command = engine.build(build, Path::new("/tmp/id"), Path::new("/p")).unwrap();
            let set = |(name, value): &(String, SecretString)| format!("{name}={} ", value.expose_secret());
            lines.push(format!("{}{}", command.environment.iter().map(set).collect::<String>(), line(&command)));
        }
    }
    insta::assert_snapshot!(lines.join("\n"), @"
    docker build --iidfile /tmp/id -- .
    SOURCE_DATE_EPOCH=1 docker build --iidfile /tmp/id --build-arg SOURCE_DATE_EPOCH -- .
    SOURCE_DATE_EPOCH= podman build --iidfile /tmp/id --timestamp 1700000000 -- .
    SOURCE_DATE_EPOCH=1 podman build --iidfile /tmp/id --build-arg SOURCE_DATE_EPOCH -- .
    SOURCE_DATE_EPOCH= buildah build --layers --iidfile /tmp/id --timestamp 1700000000 -- .
    SOURCE_DATE_EPOCH=1 buildah build --layers --iidfile /tmp/id --build-arg SOURCE_DATE_EPOCH -- .
    SOURCE_DATE_EPOCH=1700000000 finch build --iidfile /tmp/id --build-arg SOURCE_DATE_EPOCH -- .
    SOURCE_DATE_EPOCH=1 finch build --iidfile /tmp/id --build-arg SOURCE_DATE_EPOCH -- .
    SOURCE_DATE_EPOCH=1700000000 nerdctl build --iidfile /tmp/id --build-arg SOURCE_DATE_EPOCH -- .
    SOURCE_DATE_EPOCH=1 nerdctl build --iidfile /tmp/id --build-arg SOURCE_DATE_EPOCH -- .
    SOURCE_DATE_EPOCH=1700000000 docker buildx build --load --iidfile /tmp/id --metadata-file /tmp/id.metadata --build-arg SOURCE_DATE_EPOCH -- .
    SOURCE_DATE_EPOCH=1 docker buildx build --load --iidfile /tmp/id --metadata-file /tmp/id.metadata --build-arg SOURCE_DATE_EPOCH -- .
    ");
}

#[test]
fn what_an_old_docker_cannot_do_is_said_before() {
    let secret = BTreeMap::from([("a".to_owned(), Secret::Environment("A".into()))]);
    let with_secret = Build { secrets: secret, ..build() };
    let with_cache = Build { cache_to: vec!["type=inline".into()], ..build() };
    for (build, what) in [(with_secret, "`secrets`"), (with_cache, "`cache_to`")] {
        let refused = engine(Builder::Docker).build(&build, Path::new("/tmp/id"), Path::new("/p")).unwrap_err();
        assert_eq!(refused.kind(), Kind::Preflight);
        assert!(refused.to_string().contains(what) && refused.hints()[0].contains("buildx"), "{refused:?}");
    }
}

/// BuildKit's spelling of a cache in a registry is understood by all; any other goes as it is.
#[test]
fn caches_are_spelt_as_the_engine_takes_them() {
    let build = Build {
        cache_from: vec!["type=registry,ref=r/cache".into(), "type=gha".into(), "r/plain".into()],
        ..Build::default()
    };
    let taken = |engine: &Engine| {
        let line = built(engine, &build);
        line.split("--cache-from ").skip(1).map(|rest| rest.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(taken(&engine(Builder::Docker)), ["r/cache", "type=gha", "r/plain"]);
    assert_eq!(taken(&engine(Builder::Buildah)), ["r/cache", "type=gha", "r/plain"]);
    let buildx = Engine { buildx: true, ..engine(Builder::Docker) };
    for engine in [buildx, engine(Builder::Nerdctl)] {
        assert_eq!(taken(&engine), ["type=registry,ref=r/cache", "type=gha", "r/plain"]);
    }
}

#[test]
fn secrets_are_in_the_environment_alone() {
    let command = engine(Builder::Docker).build(&build(), Path::new("/tmp/id"), Path::new("/p")).unwrap();
    assert!(!line(&command).contains("s3cret"));
    assert!(!format!("{command:?} {:?}", build()).contains("s3cret"));
    assert_eq!(command.environment.len(), 2);
}

/// Being on PATH says nothing: the first in order that answers builds, and all are asked at once.
#[tokio::test]
async fn engines_are_found_by_asking_them() {
    let workshop = Workshop::new();
    let program = |name: &str, script: &str| {
        workshop.file(name, format!("#!/bin/sh\n{script}\n"));
        super::set_mode(&workshop.path(&format!("project/{name}")), 0o755);
    };
    program("docker", "echo Cannot connect to the Docker daemon >&2; exit 1");
    program("podman", "sleep 1000");
    program("buildah", "[ $1 = info ]");
    program("finch", "[ $1 = info ]");
    let path = |builder: Builder| workshop.path(&format!("project/{}", builder.name())).into();
    let began = Instant::now();
    let found = engine::choose_among(None, &path).await.unwrap();
    assert_eq!((found.builder, found.buildx), (Builder::Buildah, false));
    assert!(began.elapsed() < Duration::from_secs(20), "side by side");
    assert_eq!(engine::choose_among(Some(Builder::Finch), &path).await.unwrap().builder, Builder::Finch);
    let refused = engine::choose_among(Some(Builder::Docker), &path).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Preflight);
    assert!(refused.to_string().contains("docker does not answer"), "{refused}");
    // Docker with its plugin, and with one that is broken. Who hangs after it in the order holds nobody up.
    let began = Instant::now();
    program("docker", "case $1 in version) echo 27.0 ;; buildx) echo github.com/docker/buildx v0.20 ;; esac");
    assert!(engine::choose_among(None, &path).await.unwrap().buildx);
    assert!(began.elapsed() < Duration::from_secs(4), "podman takes its 5 s to say nothing");
    program("docker", "case $1 in version) echo 27.0 ;; *) exit 1 ;; esac");
    assert_eq!(engine::choose_among(None, &path).await.unwrap(), docker(&workshop));
    let nothing = |_| "no-such-program-anywhere".into();
    let refused = engine::choose_among(None, &nothing).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Preflight);
    assert!(refused.hints()[0].contains("layers"), "{refused:?}");
    assert_eq!("dcoker".parse::<Builder>().unwrap_err().hints(), ["did you mean `docker`?"]);
}

#[tokio::test]
async fn output_comes_line_by_line() {
    let workshop = Workshop::new();
    let script = r"printf 'one\r\n\ntwo\rthree\n' ; printf 'err\n' >&2; printf 'last'; echo $TOKEN > token";
    let mut command = engine::shell(script, &workshop.path("project"));
    command.environment.push(("TOKEN".into(), "s3cret".into()));
    let mut lines = Vec::new();
    engine::run(&command, &mut |line| lines.push(line.to_owned())).await.unwrap();
    lines.retain(|line| line != "err");
    assert_eq!(lines, ["one", "", "two", "three", "last"]);
    assert_eq!(std::fs::read_to_string(workshop.path("project/token")).unwrap(), "s3cret\n");
}

#[tokio::test]
async fn failures_show_the_last_lines() {
    let workshop = Workshop::new();
    let folder = workshop.path("project");
    let command = engine::shell("seq 1 100; echo broken >&2; exit 3", &folder);
    let error = engine::run(&command, &mut |_| {}).await.unwrap_err();
    assert_eq!(error.kind(), Kind::BuildOrPush);
    assert!(error.to_string().contains("exit status: 3"), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("100") && cause.contains("broken") && !cause.contains("\n5\n"), "{cause}");

    let mut command = engine::shell("true", &folder);
    command.program = "no-such-program-anywhere".into();
    let error = engine::run(&command, &mut |_| {}).await.unwrap_err();
    assert!(error.hints()[0].contains("on PATH"), "{error:?}");
    let error = engine::run(&engine::shell("true", &folder.join("nowhere")), &mut |_| {}).await.unwrap_err();
    assert!(error.hints()[0].contains("there is no folder"), "{error:?}");
}

#[tokio::test]
async fn long_output_without_lines_is_bounded() {
    let workshop = Workshop::new();
    let command = engine::shell("head -c 3000000 /dev/zero | tr '\\0' x", &workshop.path("project"));
    let (mut longest, mut total) = (0, 0);
    engine::run(&command, &mut |line| {
        longest = longest.max(line.len());
        total += line.len();
    })
    .await
    .unwrap();
    assert_eq!(total, 3_000_000);
    assert!(longest < 100_000, "{longest}");
}

#[tokio::test]
async fn dropping_the_run_ends_the_whole_group() {
    let workshop = Workshop::new();
    let command = engine::shell("sleep 1000 & echo $!; echo $$; wait", &workshop.path("project"));
    let mut ids: Vec<String> = Vec::new();
    let run = async {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let mut on_line = |line: &str| drop(sender.send(line.to_owned()));
        let run = engine::run(&command, &mut on_line);
        tokio::pin!(run);
        while ids.len() < 2 {
            tokio::select! {
                _ = &mut run => panic!("it ended by itself"),
                id = receiver.recv() => ids.push(id.unwrap()),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), run).await.unwrap();
    let started = Instant::now();
    let alive = |id: &String| {
        // A zombie is dead; whoever inherits it may take a moment.
        std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    };
    while ids.iter().any(alive) {
        assert!(started.elapsed() < Duration::from_secs(10), "{ids:?} live on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_engine_that_hangs_does_not_answer() {
    let workshop = Workshop::new();
    let command = engine::shell("sleep 1000", &workshop.path("project"));
    let error = engine::answers(&command, Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Preflight);
    let error =
        engine::answers(&engine::shell("echo no daemon; exit 1", &workshop.path("project")), Duration::from_secs(20))
            .await;
    assert_eq!(error.unwrap_err().kind(), Kind::Preflight);
}

#[tokio::test]
async fn what_a_command_leaves_running_is_not_listened_to() {
    let workshop = Workshop::new();
    let script = "(trap '' TERM; while sleep 0.01; do echo still here; done) & echo $! > pid; echo done";
    let command = engine::shell(script, &workshop.path("project"));
    let mut lines = Vec::new();
    let mut on_line = |line: &str| lines.push(line.to_owned());
    let ended = tokio::time::timeout(Duration::from_secs(20), engine::run(&command, &mut on_line)).await;
    let pid = std::fs::read_to_string(workshop.path("project/pid")).unwrap();
    let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    ended.expect("it ends when its command does").unwrap();
    assert!(lines.contains(&"done".to_owned()), "{lines:?}");
}

/// Two builds on one daemon, each between the other's build and save.
#[tokio::test]
async fn builds_at_the_same_time_do_not_mix() {
    let workshop = Workshop::new();
    let script = r#"#!/bin/sh
case $1 in
  version) echo 27.0 ;;
  build)
    touch built-by-$MODE
    while ! [ -e built-by-1 -a -e built-by-2 ]; do sleep 0.01; done
    cp id-$MODE "$3" ;;
  image) cat "inspect-$4" ;;
  save) cat "saved-$3" ;;
esac
"#;
    super::held::program(&workshop, script);
    let one = |mode: &str| {
        let config = super::archives::small_archive(&workshop, "project/built.tar", mode);
        super::held::holds(&workshop, &config, "built.tar");
        workshop.file(&format!("id-{mode}"), digest::of(&config));
        let build_args = BTreeMap::from([("MODE".to_owned(), mode.into())]);
        (config, Build { build_args, ..build() })
    };
    let (first, second) = (one("1"), one("2"));
    let (project, open) = (workshop.path("project"), workshop.open(None));
    let docker = docker(&workshop);
    let (mut quiet, mut quiet_too) = (|_: &str| {}, |_: &str| {});
    let both = async {
        let (held, held_too) = tokio::join!(
            engine::image(&docker, &first.1, &project, &open, &mut quiet),
            engine::image(&docker, &second.1, &project, &open, &mut quiet_too),
        );
        let (held, held_too) = (held.unwrap(), held_too.unwrap());
        tokio::try_join!(held.fetched(), held_too.fetched()).unwrap()
    };
    let (built, built_too) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    let config = |built: Built| built.settled().unwrap().config;
    assert_eq!((config(built), config(built_too)), (first.0.into(), second.0.into()));
}

/// A program with docker's command line, that "builds" an archive which lies in the project.
#[tokio::test]
async fn what_an_engine_built_becomes_an_image() {
    let workshop = Workshop::new();
    super::archives::saved_archive(&workshop, "project/built.tar");
    let config = super::archives::saved_config();
    let script = r#"#!/bin/sh
case $1 in
  version) echo 27.0 ;;
  build) echo "step 1 for $MODE"; echo "$@" > arguments; cat id > "$3" ;;
  image) cat "inspect-$4" ;;
  save) cat "saved-$3" ;;
esac
"#;
    workshop.file("id", format!("{}\n", digest::of(&config)));
    super::held::program(&workshop, script);
    super::held::holds(&workshop, &config, "built.tar");
    let (docker, build, project) = (docker(&workshop), build(), workshop.path("project"));
    let mut lines = Vec::new();
    let open = workshop.open(Some("linux/arm64"));
    let held = engine::image(&docker, &build, &project, &open, &mut |line| lines.push(line.to_owned())).await.unwrap();
    assert_eq!(lines, ["step 1 for fast"]);
    assert!(!std::fs::read_to_string(workshop.path("project/arguments")).unwrap().contains("s3cret"));
    let built = held.fetched().await.unwrap().settled().unwrap();
    super::check_sound(&built);
    assert_eq!(built.layers().len(), 4);
    assert_eq!(built.config, config);
    drop(built);
    // What was not sent is kept, and nothing else.
    let left: Vec<_> =
        std::fs::read_dir(workshop.cache.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "{left:?}");

    // An id that is none is never an argument.
    workshop.file("id", "--all");
    let error = engine::image(&docker, &build, &project, &open, &mut |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("did not say which image it built"), "{error}");
}
