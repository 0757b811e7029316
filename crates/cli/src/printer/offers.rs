//! What the catalog offers, and what of it is here.

use crate::catalog::Recipe;
use crate::failure::Failure;
use banger_protocol::size::ByteSize;
use serde::Serialize;

/// What `--available --json` prints for each.
#[derive(Debug, Serialize)]
pub(crate) struct Offer<'a> {
    name: &'a str,
    source: String,
    description: &'a str,
    pulled: bool,
    /// What it takes here, or has to be brought here; unknown of what is yet to be built.
    size: Option<ByteSize>,
}

impl<'a> Offer<'a> {
    pub(crate) fn new(name: &'a str, recipe: &Recipe, description: &'a str, here: Option<ByteSize>) -> Self {
        let size = here.or_else(|| recipe.size().map(ByteSize::bytes));
        Self { name, source: recipe.source(), description, pulled: here.is_some(), size }
    }
}

/// Prints them in the way that was asked for.
pub(crate) fn offers(offers: &[Offer<'_>], quiet: bool, json: bool) -> Result<(), Failure> {
    if json {
        return super::json(&offers);
    }
    if quiet {
        return super::data(&offers.iter().map(|offer| format!("{}\n", offer.name)).collect::<String>());
    }
    let row = |offer: &Offer<'_>| {
        [
            offer.name.to_owned(),
            if offer.pulled { "pulled" } else { "available" }.to_owned(),
            offer.size.map_or_else(|| "-".to_owned(), |size| size.to_string()),
            offer.source.clone(),
            offer.description.to_owned(),
        ]
    };
    super::table(["NAME", "STATE", "SIZE", "SOURCE", "DESCRIPTION"], offers.iter().map(row))
}
