//! The four icons, drawn in `icons/*.svg` and kept beside them as pictures of 64 pixels, which a
//! panel scales down.

use tray_icon::Icon;

use super::state::Activity;

/// The icon for an activity.
///
/// # Errors
/// The picture can't be decoded, which a test rules out.
pub(super) fn icon(activity: Activity) -> Result<Icon, String> {
    let bytes: &[u8] = match activity {
        Activity::Watching => include_bytes!("../../icons/tray-watching.png"),
        Activity::Saving => include_bytes!("../../icons/tray-saving.png"),
        Activity::Paused => include_bytes!("../../icons/tray-paused.png"),
        Activity::Attention => include_bytes!("../../icons/tray-attention.png"),
    };
    let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::ALPHA | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(|e| e.to_string())?;
    let mut rgba = vec![0; reader.output_buffer_size().ok_or("too large")?];
    let info = reader.next_frame(&mut rgba).map_err(|e| e.to_string())?;
    if info.color_type != png::ColorType::Rgba {
        return Err(format!("{:?} is not RGBA", info.color_type));
    }
    rgba.truncate(info.buffer_size());
    Icon::from_rgba(rgba, info.width, info.height).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_can_be_decoded() {
        for activity in [
            Activity::Watching,
            Activity::Saving,
            Activity::Paused,
            Activity::Attention,
        ] {
            icon(activity).unwrap();
        }
    }
}
