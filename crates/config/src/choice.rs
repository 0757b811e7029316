//! Settings that are one of a few words.

use serde::Deserialize;

/// Words, each a case; the way back is what is shown.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
        pub enum $name {
            $($(#[$case_doc])* #[serde(rename = $word)] $case,)+
        }

        impl $name {
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$case => $word,)+
                }
            }
        }
    };
}

choice! {
    /// The values of `log_level`.
    LogLevel {
        Error = "error",
        Warn = "warn",
        Info = "info",
        Debug = "debug",
        Trace = "trace",
    }
}

choice! {
    /// The values of `vmm`.
    VmmChoice {
        /// The best there is on this host.
        Auto = "auto",
        Firecracker = "firecracker",
        Qemu = "qemu",
    }
}

choice! {
    /// The values of `root_disk`.
    RootDiskChoice {
        /// The cheapest that works here.
        Auto = "auto",
        DmSnapshot = "dm-snapshot",
        Reflink = "reflink",
        GuestSnapshot = "guest-snapshot",
        Copy = "copy",
    }
}
