//! When two devices write different texts: where, and how close the choice was.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ternary::format::FileSource;
use ternary::session::{DeviceChoice, Event, Session};
use ternary::tokenizer::TextStream;

/// A step at which another text continues with another token than the likeliest.
#[derive(Debug)]
pub struct Divergence {
    /// Tokens that were the same before.
    pub after: usize,
    pub likeliest: (String, f32),
    pub other: (String, f32),
}

impl Divergence {
    /// How much likelier the likeliest is, in logits.
    pub fn gap(&self) -> f32 {
        self.likeliest.1 - self.other.1
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((likeliest, best), (other, second)) = (&self.likeliest, &self.other);
        write!(
            f,
            "after {} tokens {likeliest:?} has logit {best} and {other:?} has {second}: {} apart",
            self.after,
            self.gap()
        )
    }
}

/// Writes greedily after `prompt`, natively on the CPU, up to where `text` continues otherwise.
pub fn divergence(model: &Path, prompt: &str, text: &str) -> Result<Divergence> {
    pollster::block_on(find(model, prompt, text))
}

async fn find(model: &Path, prompt: &str, text: &str) -> Result<Divergence> {
    let mut session = Session::new();
    let source = std::rc::Rc::new(FileSource::open(model)?);
    let mut failure = None;
    session
        .load(source, DeviceChoice::Cpu, &mut |event| {
            if let Event::Error { message } = event {
                failure = Some(message);
            }
        })
        .await;
    ensure!(failure.is_none(), "{failure:?}");
    let loaded = session.loaded()?;
    let tokenizer = loaded.tokenizer.as_ref().context("no tokenizer")?;

    let mut ids = tokenizer.encode(prompt)?;
    let (mut fed, begin) = (0, ids.len());
    let mut written = String::new();
    // The last step whose likeliest token is the beginning of another that fits too ("I" and "It"):
    // if the text turns out to differ right behind it, that is where the choice was made.
    let mut longer: Option<Divergence> = None;
    loop {
        let mut candidates = loaded.model.feed(&ids[fed..], &[], 1.0).await?;
        fed = ids.len();
        candidates.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        // What the text would be with a candidate: tokens can end in the middle of a character.
        let with = |id: u32| -> Result<String> {
            let mut stream = TextStream::default();
            let mut all = String::new();
            for id in ids[begin..].iter().chain([&id]) {
                all += &stream.push(tokenizer, *id)?;
            }
            Ok(all)
        };
        let (best, logit) = *candidates.first().context("no candidates")?;
        let continued = with(best)?;
        let follows = text.starts_with(&continued);
        if follows {
            ensure!(
                continued.len() < text.len(),
                "the texts are the same for as long as the shorter goes"
            );
        }
        let least = if follows { &continued } else { &written };
        let mut other = None;
        for (id, logit) in candidates.iter().skip(1) {
            let otherwise = with(*id)?;
            if otherwise.len() > least.len() && text.starts_with(&otherwise) {
                other = Some((otherwise[written.len()..].to_owned(), *logit));
                break;
            }
        }
        let here = other.map(|other| Divergence {
            after: ids.len() - begin,
            likeliest: (continued[written.len()..].to_owned(), logit),
            other,
        });
        if follows {
            longer = here.or(longer);
            ids.push(best);
            written = continued;
            continue;
        }
        if let Some(found) = here.or(longer) {
            return Ok(found);
        }
        anyhow::bail!("after {written:?} no candidate continues as the other text does: {text:?}");
    }
}
