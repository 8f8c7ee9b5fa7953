//! Writes a tokenizer for the words of drawn scenes: `word_tokenizer OUT.json [SLOTS]`.
use gar_data::scene::vocabulary;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().ok_or("expected the file to write")?;
    let slots = arguments.next().map_or(Ok(5), |text| text.parse())?;
    std::fs::write(out, serde_json::to_string_pretty(&vocabulary::tokenizer(slots))? + "\n")?;
    Ok(())
}
