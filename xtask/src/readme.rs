//! Pure. The commands of README.md, which stories carry out word for word.

/// `commands(readme, heading)` — what stands between the fences of the section's first block.
pub(crate) fn commands<'a>(readme: &'a str, heading: &str) -> Option<&'a str> {
    let (_, section) = readme.split_once(&format!("\n## {heading}\n"))?;
    let (_, block) = section.split_once("\n```sh\n")?;
    block.split_once("\n```\n").map(|(block, _)| block)
}

#[cfg(test)]
mod tests {
    use super::commands;

    #[test]
    fn commands_are_those_of_the_section() {
        let readme =
            "```sh\na\n```\n## Under systemd\n\nText\n\n```sh\nb # c\nd\n```\n\n```sh\ne\n```\n";
        assert_eq!(commands(readme, "Under systemd"), Some("b # c\nd"));
        assert_eq!(commands(readme, "Elsewhere"), None);
        assert_eq!(
            commands("\n## Under systemd\n\nText\n", "Under systemd"),
            None
        );
    }
}
