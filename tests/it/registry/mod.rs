//! The registry client against a registry that can misbehave.

mod auth;
mod drafts;
pub mod fake;
mod pull;
mod push;
mod trouble;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use steadystate::error::Result;
use steadystate::image::Image;
use steadystate::registry::{self, BlobState, Client, Patience, Progress, PushOptions, Pushed};

pub use super::images::Workshop;
pub use fake::Fake;

pub fn patience() -> Patience {
    Patience {
        connect: Duration::from_secs(5),
        stall: Duration::from_secs(20),
        attempts: 4,
        first_delay: Duration::from_millis(5),
        max_delay: Duration::from_millis(20),
    }
}

pub fn client(fake: &Fake) -> Client {
    Client::with_patience(&fake.url(), None, patience()).unwrap()
}

pub async fn push(client: &Client, image: &Image, tags: &[&str]) -> Result<Pushed> {
    let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
    registry::push(client, "hello", image, &tags, &PushOptions::default(), &|_| {}).await
}

/// An image of `layers` layers, each larger than the one before.
pub fn image_of(workshop: &Workshop, layers: u32) -> Image {
    let entries = (0..layers).map(|layer| {
        // Does not compress, so that it travels in many pieces.
        let mut state = layer + 1;
        let content: Vec<u8> = (0..(layer + 1) * 50_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        let name = format!("layer{layer}");
        workshop.file(&name, content);
        vec![super::images::entry(&name, &format!("/{name}"))]
    });
    let spec = workshop.spec(entries.collect());
    steadystate::image::layers::assemble(spec, None).unwrap()
}

/// Collects what a push tells.
#[derive(Clone, Default)]
pub struct Told(Arc<Mutex<Vec<Progress>>>);

impl Told {
    pub fn listener(&self) -> impl Fn(Progress) + Send + Sync + use<> {
        let told = self.clone();
        move |progress| told.0.lock().unwrap().push(progress)
    }

    pub fn of(&self, digest: &str) -> Vec<(BlobState, u64)> {
        let told = self.0.lock().unwrap();
        told.iter().filter(|told| told.digest == digest).map(|told| (told.state, told.sent)).collect()
    }
}
