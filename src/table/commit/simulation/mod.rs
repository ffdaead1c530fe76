//! Commits in a world where everything goes wrong, one seed after the other: answers are lost, come late or twice, files are
//! not written, servers die, two servers and another engine commit to the same table, and what is there is compacted.
//!
//! One thread and a clock that moves by itself, so that a seed plays the same again: `MURRE_SIM_SEED=7` plays that one,
//! `MURRE_SIM_SEEDS=1000` so many from 0.

mod actors;
mod check;
mod store;
mod world;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::clock::{self, simulated};
use actors::{Crew, History};
use world::World;

/// Logical writes of one seed.
const WRITERS: usize = 4;
const WRITES: usize = 4;

#[expect(
    clippy::disallowed_methods,
    reason = "how much is tested is nothing that a configuration says"
)]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn seeds() -> Range<u64> {
    match number("MURRE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MURRE_SIM_SEEDS").unwrap_or(40),
    }
}

fn play(seed: u64) -> (Arc<World>, History) {
    simulated::start(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .on_thread_park(simulated::pass)
        .build()
        .unwrap();
    let played = runtime.block_on(async {
        let world = World::new(seed, StdRng::seed_from_u64(seed)).await;
        let crew = Crew::new(Arc::clone(&world));
        let history = crew.play(WRITERS, WRITES).await;
        world.calm();
        // What was on its way is there by now, or never will be.
        clock::sleep(Duration::from_secs(3_600)).await;
        check::check(&world, &history).await;
        (world, history)
    });
    drop(runtime);
    simulated::end();
    played
}

#[test]
fn every_write_is_there_once_whatever_happens() {
    let (mut played, mut faults, mut replays, mut crashes) = (0, 0, 0, 0);
    for seed in seeds() {
        played += 1;
        let outcome = std::panic::catch_unwind(|| play(seed));
        let (world, history) = outcome.unwrap_or_else(|cause| {
            eprintln!("play it again with MURRE_SIM_SEED={seed}");
            std::panic::resume_unwind(cause)
        });
        faults += world.faults();
        replays += history.replays();
        crashes += history.crashes();
    }
    if number("MURRE_SIM_SEED").is_none() {
        // Nothing is proven by a world where nothing goes wrong.
        let enough = faults > 5 * played && replays > played && 4 * crashes > played;
        assert!(enough, "{faults} {replays} {crashes}");
    }
}
