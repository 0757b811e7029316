use anyhow::Result;
pub(crate) enum Part {}
pub(crate) fn asked() -> Option<Result<Part>> {
    None
}
pub(crate) fn run(part: Part) -> Result<()> {
    match part {}
}
