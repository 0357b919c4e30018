//! The files that a machine boots from.

use std::path::{Path, PathBuf};

use driver::DriverError;

use super::parameters::{MOST_DISK, Parameters};
use super::{RESCUE, RESCUE_INITRD, RESCUE_KERNEL, disk};
use crate::common::definite;

/// Size of the empty disk of a machine without an image.
const BLANK_DISK_MIB: u64 = 64;

/// The files that a machine boots from, looked at.
pub(super) struct Files {
    pub image: Option<(PathBuf, disk::Format)>,
    pub kernel: Option<PathBuf>,
    pub initrd: Option<PathBuf>,
    pub disk_bytes: u64,
}

impl Files {
    pub(super) fn of(parameters: &Parameters, state_dir: &Path) -> Result<Self, DriverError> {
        let mut kernel = parameters.kernel.clone();
        let mut initrd = parameters.initrd.clone();
        if parameters.image.is_none() && kernel.is_none() {
            let rescue = state_dir.join(RESCUE);
            kernel = Some(rescue.join(RESCUE_KERNEL));
            initrd = Some(rescue.join(RESCUE_INITRD));
            if !rescue.join(RESCUE_KERNEL).is_file() || !rescue.join(RESCUE_INITRD).is_file() {
                return Err(definite(format!(
                    "neither image nor kernel is given, and there is no rescue image in {}: \
                     `oneprovision image build` makes one",
                    rescue.display()
                )));
            }
        }
        for (name, path) in [("kernel", &kernel), ("initrd", &initrd)] {
            let Some(path) = path else { continue };
            let wrong = |why: &str| definite(format!("parameter {name}: {} {why}", path.display()));
            let metadata = std::fs::metadata(path).map_err(|e| wrong(&disk::reason(&e)))?;
            if !metadata.is_file() {
                return Err(wrong("is not a file"));
            }
            std::fs::File::open(path).map_err(|e| wrong(&disk::reason(&e)))?;
        }
        let mebibytes = |mib: u64| mib.saturating_mul(1 << 20);
        let wanted = parameters.disk_mib.map(mebibytes);
        let (image, disk_bytes) = match &parameters.image {
            None => (None, wanted.unwrap_or(mebibytes(BLANK_DISK_MIB))),
            Some(path) => {
                let wrong =
                    |why: String| definite(format!("parameter image: {} {why}", path.display()));
                let (format, size) = disk::inspect(path, kernel.is_none()).map_err(wrong)?;
                let path = path.canonicalize().map_err(|e| wrong(disk::reason(&e)))?;
                if size > mebibytes(MOST_DISK) {
                    return Err(wrong("is a disk of more than 16 TiB".to_owned()));
                }
                if let Some(wanted) = wanted.filter(|wanted| *wanted < size) {
                    return Err(definite(format!(
                        "parameter disk_size: {} MiB are less than the {} MiB of the image",
                        wanted >> 20,
                        size.div_ceil(1 << 20)
                    )));
                }
                (Some((path, format)), wanted.unwrap_or(size))
            }
        };
        Ok(Self { image, kernel, initrd, disk_bytes })
    }
}
