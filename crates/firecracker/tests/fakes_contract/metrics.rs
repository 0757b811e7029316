//! What is counted, and when it is written down.

use crate::programs::programs;
use crate::vmm::{METRICS, Vmm, run};
use banger_firecracker::{API_SOCKET, Metrics};
use std::time::{Duration, Instant};

/// The whole lines there are once there are this many.
async fn lines(vmm: &Vmm, many: usize) -> Vec<Metrics> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let text = vmm.said(METRICS);
        if text.matches('\n').count() >= many {
            return text.lines().map(|line| Metrics::parse(line.as_bytes()).unwrap()).collect();
        }
        assert!(Instant::now() < deadline, "{:?} wrote {text:?}", vmm.program);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_line_is_written_at_the_start_and_another_when_it_is_asked_for() {
    for program in programs() {
        let vmm = Vmm::start(&program).await;
        let mut client = vmm.client().await;
        client.configure(&vmm.machine()).await.unwrap();
        assert_eq!(vmm.said(METRICS), "", "{program:?}");
        client.start().await.unwrap();
        let first = lines(&vmm, 1).await;
        assert_eq!(first.len(), 1, "{program:?}");
        client.flush_metrics().await.unwrap();
        let both = lines(&vmm, 2).await;
        assert_eq!(both.len(), 2, "{program:?}");
        assert!(both[1].at_ms >= both[0].at_ms && both[0].at_ms > 1_700_000_000_000, "{both:?}");
        // These guests have no use for their devices.
        assert_eq!(both[1], Metrics { at_ms: both[1].at_ms, ..Metrics::default() });
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_written_ends_it_before_it_listens() {
    for program in programs() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["--api-sock", API_SOCKET, "--metrics-path", "no/folder"];
        let mut child = run(&program, folder.path(), &arguments);
        assert!(!child.wait().unwrap().success(), "{program:?}");
        let said = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let said = said("stderr") + &said("stdout");
        assert!(said.contains("Cannot initialize the metrics system due to bad user input"), "{said}");
        assert!(!folder.path().join(API_SOCKET).exists());
    }
}
