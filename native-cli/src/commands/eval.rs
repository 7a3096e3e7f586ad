//! `onebit eval`.

use anyhow::Result;
use ternary::infer;

use crate::args::Eval;
use crate::output::outln;
use crate::{model, progress};

pub fn run(a: &Eval) -> Result<()> {
    let (mut session, _) = model::open(&a.model)?;
    let loaded = session.loaded()?;
    let text = model::evaluation(loaded, &a.data)?;
    let bar = progress::bar(0, "evaluating {bar:30} {pos}/{len} tokens {eta}");
    let result = pollster::block_on(infer::evaluate_tokens(
        &mut loaded.model,
        &text,
        &mut |done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        },
    ))?;
    bar.finish_and_clear();
    if a.json {
        outln!("{}", serde_json::to_string(&result)?);
    } else {
        outln!("tokens           {}", result.tokens);
        outln!("loss             {:.4} nats/token", result.loss);
        outln!("perplexity       {:.3}", result.perplexity);
        outln!("bits per byte    {:.4}", result.bits_per_byte);
        outln!("word perplexity  {:.2}", result.word_perplexity);
    }
    Ok(())
}
