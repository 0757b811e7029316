//! What becomes of requests that are not in order: nothing.

mod harness;

use harness::{Start, folder, hostile, until};

#[test]
fn no_request_with_anything_wrong_in_it_changes_anything() {
    let folder = folder();
    let helper = Start::default().helper(folder.path());
    // So many connections in a row that some of them are not closed at its end before it is asked for the next.
    let connect = || {
        let mut connected = None;
        until("there is room for a connection", || {
            connected = helper.try_connect();
            connected.is_some()
        });
        connected.expect("it was waited for").0
    };
    let tried = hostile::try_everything(&connect, &|| hostile::inventory(connect()));
    assert!(tried >= 200, "only {tried} cases");
}
