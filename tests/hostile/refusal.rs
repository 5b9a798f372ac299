//! What every refusal is held to.

use hilberg::Error;

/// One line of at most 4 KiB without control characters, exit status 2, and the name of one of the files in it.
pub fn is_one_line(e: &Error, names: &[&str]) -> Result<(), String> {
    let said = e.to_string();
    if e.exit_code() != 2 || said.len() > 4096 || said.is_empty() {
        return Err(format!("status {}, {} bytes: {said}", e.exit_code(), said.len()));
    }
    if said.chars().any(|c| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c)) {
        return Err(format!("not one plain line: {said:?}"));
    }
    if !names.iter().any(|n| said.contains(n)) {
        return Err(format!("names no file: {said}"));
    }
    Ok(())
}
