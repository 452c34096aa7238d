//! Which tests there are, by their source text.

use std::{fs, path::Path};

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, ItemFn, ItemMod, Macro, visit::Visit};

/// A test.
#[derive(Debug)]
pub(crate) struct Test {
    /// Its name, with its modules: `units::tests::sizes`.
    pub(crate) name: String,
    /// It is run only with `--ignored`.
    pub(crate) ignored: bool,
}

/// The tests of a target in `tests`, or of the library.
///
/// # Errors
/// There is no such target.
pub(crate) fn tests_of(root: &Path, target: &str) -> Result<Vec<Test>, String> {
    let mut tests = Vec::new();
    let file = root.join(format!("tests/{target}.rs"));
    let folder = root.join(format!("tests/{target}"));
    if target == "lib" {
        below(&root.join("src"), &mut Vec::new(), &mut tests);
    } else if file.is_file() {
        read(&file, &[], &mut tests);
    } else if folder.join("main.rs").is_file() {
        below(&folder, &mut Vec::new(), &mut tests);
    } else {
        return Err(format!("there is no test target {target}"));
    }
    Ok(tests)
}

fn below(dir: &Path, module: &mut Vec<String>, tests: &mut Vec<Test>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let own = !["mod", "main", "lib"].contains(&stem.as_str());
        if own {
            module.push(stem);
        }
        if path.is_dir() {
            below(&path, module, tests);
        } else if path.extension().is_some_and(|end| end == "rs") {
            read(&path, module, tests);
        }
        if own {
            module.pop();
        }
    }
}

fn read(path: &Path, module: &[String], tests: &mut Vec<Test>) {
    let text = fs::read_to_string(path).unwrap();
    let file = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Finder {
        module: module.to_vec(),
        tests,
    }
    .visit_file(&file);
}

struct Finder<'a> {
    module: Vec<String>,
    tests: &'a mut Vec<Test>,
}

impl Finder<'_> {
    fn found(&mut self, name: &str, ignored: bool) {
        let name = [&self.module[..], &[name.to_owned()]].concat().join("::");
        self.tests.push(Test { name, ignored });
    }

    /// The functions that `proptest!` makes tests of.
    fn properties(&mut self, tokens: TokenStream) {
        let mut after_fn = false;
        for token in tokens {
            match token {
                TokenTree::Ident(name) if after_fn => {
                    self.found(&name.to_string(), false);
                    after_fn = false;
                }
                TokenTree::Ident(name) => after_fn = name == "fn",
                _ => after_fn = false,
            }
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.to_string());
        syn::visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        let has = |name: &str| {
            item.attrs
                .iter()
                .any(|a: &Attribute| a.path().is_ident(name))
        };
        if has("test") {
            self.found(&item.sig.ident.to_string(), has("ignore"));
        }
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        if item
            .path
            .segments
            .last()
            .is_some_and(|name| name.ident == "proptest")
        {
            self.properties(item.tokens.clone());
        }
    }
}
