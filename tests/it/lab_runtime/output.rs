//! A container that writes without a pause.

use std::path::Path;
use std::time::{Duration, Instant};

use steadystate::lab::runtime::{Line, Output, Runtime, RuntimeEvent};
use tokio::sync::mpsc::{self, Receiver};

use super::{Bench, HELPER, PATIENCE, benches};

/// A bench at the first level that works here, whose output nobody takes yet.
fn unread() -> (Bench, Receiver<Output>) {
    let data = tempfile::tempdir().unwrap();
    let runtime = Runtime::new(data.path().to_owned(), None, Path::new(HELPER).to_owned()).unwrap();
    let (events, output) = (runtime.take_events().unwrap(), runtime.take_output().unwrap());
    let level = runtime.level().unwrap();
    (Bench { data, runtime, events, lines: mpsc::unbounded_channel().1, level }, output)
}

#[tokio::test]
async fn the_last_lines_come_before_the_end() {
    for mut bench in benches() {
        let end = bench.run("chatter", &["chatter", "50000"]).await;
        assert_eq!((end.exit_code, end.lines.len()), (7, 50_001), "{}", bench.level);
        let mut numbers = end.lines.iter().enumerate();
        assert_eq!(numbers.next_back(), Some((50_000, &"the last line".to_owned())));
        assert!(numbers.all(|(at, line)| *line == at.to_string()), "{}: in order and complete", bench.level);
    }
}

#[tokio::test]
async fn nothing_grows_while_nobody_reads_and_nothing_is_lost() {
    let (mut bench, mut output) = unread();
    bench.runtime.start(bench.task("chatter", &["chatter", "for ever"])).await.unwrap();
    let started = Instant::now();
    while output.len() < output.max_capacity() {
        assert!(started.elapsed() < PATIENCE, "only {} lines", output.len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(output.max_capacity() <= 1000, "lines of 16 KiB each");
    // others are not held up: their news does not go through the same channel
    bench.runtime.start(bench.task("other", &["sleep"])).await.unwrap();
    let began = |event: &RuntimeEvent| matches!(event, RuntimeEvent::Started { task_id, .. } if task_id == "other");
    while !began(&bench.event().await) {}

    let mut next = 0;
    let mut take = |one: Option<Output>| {
        match one.expect("the runtime is still there") {
            Output::Line(Line { text, .. }) => {
                assert_eq!(text, next.to_string());
                next += 1;
            }
            Output::End(taken) => drop(taken.send(())),
        }
        next
    };
    let went_on = async { while take(output.recv().await) < 10_000 {} };
    tokio::time::timeout(PATIENCE, went_on).await.expect("it goes on when its lines are taken");
    let read = async {
        loop {
            take(output.recv().await);
        }
    };
    tokio::select! {
        () = read => {}
        stopped = tokio::time::timeout(PATIENCE, bench.runtime.shutdown(Duration::ZERO)) => {
            stopped.expect("a container that writes can be stopped");
        }
    }
    let mut ended = 0;
    while ended < 2 {
        ended += usize::from(matches!(bench.event().await, RuntimeEvent::Exited { .. }));
    }
    bench.assert_clean();
}
