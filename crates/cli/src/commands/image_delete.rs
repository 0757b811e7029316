use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::printer;
use banger_protocol::daemon_api::image::Delete;
use banger_protocol::names::ImageName;

/// Delete images
///
/// `banger image delete NAME` refuses while a VM uses the image, and names that VM; `banger vm delete` deletes it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Image names, as shown by `banger image list`
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<ImageName>,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let mut daemon = Daemon::connect()?;
        let mut code = 0;
        for image in self.images {
            match daemon.call(&Delete { image }) {
                Ok(deleted) => printer::line(deleted.image)?,
                Err(error) => {
                    let failure = error.into();
                    printer::failure(&failure);
                    code = code.max(failure.code);
                }
            }
        }
        Ok(code)
    }
}
