//! A small XML tree with bounds. Entities other than the five of XML itself are not known, so none
//! expands.

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};

const MAX_DEPTH: usize = 24;
const MAX_NODES: usize = 200_000;
const MAX_ATTRIBUTES: usize = 64;

/// An element. Namespace prefixes are dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) text: String,
    pub(crate) children: Vec<Node>,
}

/// Why a text has no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum XmlError {
    #[error("not well-formed XML")]
    Malformed,
    #[error("XML with a document type, which no manifest has")]
    DocumentType,
    #[error("XML larger or deeper than any manifest's")]
    TooLarge,
}

impl Node {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// An attribute as a number.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.attribute(name)?.trim().parse().ok()
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |c| c.name == name)
    }

    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|c| c.name == name)
    }
}

/// The root element of `text`.
///
/// # Errors
/// [`XmlError`]
pub(crate) fn parse(text: &str) -> Result<Node, XmlError> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Node> = Vec::new();
    let mut nodes = 0;
    loop {
        match reader.read_event().map_err(|_| XmlError::Malformed)? {
            Event::Start(tag) => {
                nodes += 1;
                if open.len() >= MAX_DEPTH || nodes > MAX_NODES {
                    return Err(XmlError::TooLarge);
                }
                open.push(node(&tag)?);
            }
            Event::Empty(tag) => {
                nodes += 1;
                if nodes > MAX_NODES {
                    return Err(XmlError::TooLarge);
                }
                let node = node(&tag)?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(node),
                    None => return Ok(node),
                }
            }
            Event::End(_) => {
                let node = open.pop().ok_or(XmlError::Malformed)?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(node),
                    None => return Ok(node),
                }
            }
            Event::Text(text) => append(&mut open, &text.into_inner()),
            Event::CData(text) => append(&mut open, &text.into_inner()),
            Event::GeneralRef(entity) => match entity.resolve_char_ref() {
                Ok(Some(c)) => append(&mut open, c.encode_utf8(&mut [0; 4])),
                Ok(None) => {
                    let known = quick_xml::escape::resolve_predefined_entity(&entity.into_inner());
                    append(&mut open, known.ok_or(XmlError::Malformed)?);
                }
                Err(_) => return Err(XmlError::Malformed),
            },
            Event::DocType(_) => return Err(XmlError::DocumentType),
            Event::Eof => return Err(XmlError::Malformed),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

fn append(open: &mut [Node], text: &str) {
    if let Some(node) = open.last_mut() {
        node.text.push_str(text);
    }
}

fn node(tag: &BytesStart<'_>) -> Result<Node, XmlError> {
    let mut attributes = Vec::new();
    for attribute in tag.attributes().with_checks(false) {
        let attribute = attribute.map_err(|_| XmlError::Malformed)?;
        if attributes.len() >= MAX_ATTRIBUTES {
            return Err(XmlError::TooLarge);
        }
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|_| XmlError::Malformed)?;
        attributes.push((
            attribute.key.local_name().into_inner().to_owned(),
            value.into_owned(),
        ));
    }
    Ok(Node {
        name: tag.local_name().into_inner().to_owned(),
        attributes,
        ..Node::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree() {
        let root = parse(
            "<?xml version='1.0'?><!-- c --><m:a x='1 &amp; 2'><b>t&lt;&#65;<![CDATA[<]]></b><c/></m:a>",
        )
        .unwrap();
        assert_eq!((&*root.name, root.attribute("x")), ("a", Some("1 & 2")));
        assert_eq!(root.child("b").unwrap().text, "t<A<");
        assert!(root.child("c").is_some());
    }

    #[test]
    fn hostile() {
        let laughs = "<!DOCTYPE a [<!ENTITY x 'ha'><!ENTITY y '&x;&x;&x;'>]><a>&y;</a>";
        let cases = [
            ("", XmlError::Malformed),
            ("<a>", XmlError::Malformed),
            ("<a></b>", XmlError::Malformed),
            ("<a>&unknown;</a>", XmlError::Malformed),
            ("<a x='&unknown;'/>", XmlError::Malformed),
            ("<a>&#x110000;</a>", XmlError::Malformed),
            (
                "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
                XmlError::DocumentType,
            ),
            (laughs, XmlError::DocumentType),
            (&"<a>".repeat(1_000_000), XmlError::TooLarge),
            (
                &format!("<a>{}</a>", "<b/>".repeat(300_000)),
                XmlError::TooLarge,
            ),
            (
                &format!("<a {}/>", "x='' ".repeat(100_000)),
                XmlError::TooLarge,
            ),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text), Err(want), "{}", &text[..text.len().min(60)]);
        }
    }
}
