//! How messages speak of the configuration's keys.

use crate::units;

/// The file's outermost object.
pub(super) const TOP: &str = "top level";

/// What a key may hold, by its last component.
pub(super) fn allowed(key: &str) -> &'static str {
    let last = key.rsplit('.').next().unwrap_or(key);
    let list_item = last.ends_with(']');
    match last.split('[').next().unwrap_or(last) {
        "rules" if list_item => {
            "a rule: { \"name\", \"folders\", \"files\", \"recursive\", \"enabled\" }"
        }
        "$schema" => "text",
        "library" => "null, or an absolute folder, with ~ and $VARIABLES",
        "name" if key == "name" => {
            "text with {title} {program} {date} {time} {rule} {container} {length} {number}"
        }
        "name" => "a short text on one line, once",
        "rules" => {
            "a list of rules: [ { \"name\", \"folders\", \"files\", \"recursive\", \"enabled\" } ]"
        }
        "folders" if list_item => "an absolute folder, with ~, $VARIABLES and * in any component",
        "folders" => "a list of absolute folders, at least one",
        "files" if list_item => "a glob over file names: * ? [abc] {this,that}",
        "files" => "a list of globs over file names, at least one",
        "min_size" | "min_free" => units::SIZE_FORM,
        "max_library" => r#"null, or a size such as "50 GiB" or a number of bytes"#,
        "min_duration" => units::SPAN_FORM,
        "incomplete" => r#""keep" or "drop""#,
        "private" => r#""skip" or "keep""#,
        "incomplete_days" => "a whole number of days from 0 to 4294967295",
        "sources" => "{ \"temporary_files\", \"browser_cache\" }",
        "audio" | "notifications" | "thumbnails" | "addresses" | "enabled" | "recursive"
        | "temporary_files" | "browser_cache" => "true or false",
        _ => "an object of fisga's keys; see `fisga config schema`",
    }
}
