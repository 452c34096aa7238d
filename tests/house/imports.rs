//! Reads from the source text which module uses which: `use` declarations, paths that are written
//! out, and paths inside macros. What only tests use doesn't count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, File, Item, ItemMod, ItemUse, Macro, UseTree, Visibility, visit::Visit};

/// Where a module is, below the crate: `["engine", "watch"]`. The crate itself is empty.
pub(crate) type Module = Vec<String>;

/// All modules that have a file of their own, and what each uses.
#[derive(Debug, Default)]
pub(crate) struct Imports {
    /// A path of names for each use, from the crate on. It may go on behind the module's name.
    uses: BTreeMap<Module, BTreeSet<Vec<String>>>,
    /// What a module offers under its own name: `library::Means` is `library::copy::Means`.
    exports: BTreeMap<Vec<String>, Vec<String>>,
}

impl Imports {
    /// Reads all Rust files below `src`.
    pub(crate) fn of_folder(src: &Path) -> Self {
        let mut files = Vec::new();
        find(src, src, &mut files);
        Self::of(&files)
    }

    /// Reads files by their path below `src` and their text.
    pub(crate) fn of(files: &[(String, String)]) -> Self {
        let parsed: Vec<_> = files
            .iter()
            .map(|(path, text)| {
                let file = syn::parse_file(text).unwrap_or_else(|e| panic!("{path}: {e}"));
                (module(path), file)
            })
            .collect();
        let tests: BTreeSet<_> = parsed.iter().flat_map(|(m, f)| tests_of(m, f)).collect();
        let mut imports = Self::default();
        for (module, file) in &parsed {
            if !tests.iter().any(|test| module.starts_with(test)) {
                imports.read(module, file);
            }
        }
        imports
    }

    fn read(&mut self, module: &Module, file: &File) {
        let mut reader = Reader::new(module.clone());
        // Names first: a path may begin with one that a `use` further down brings in.
        Names(&mut reader).visit_file(file);
        reader.visit_file(file);
        self.exports.extend(reader.exports);
        self.uses.insert(module.clone(), reader.uses);
    }

    /// Each module with the modules that it uses, itself left out.
    pub(crate) fn edges(&self) -> BTreeSet<(Module, Module)> {
        let mut edges = BTreeSet::new();
        for (from, uses) in &self.uses {
            for used in uses {
                let ends = [self.module_of(used), self.module_of(&self.origin(used))];
                edges.extend(ends.into_iter().map(|to| (from.clone(), to)));
            }
        }
        edges.retain(|(from, to)| from != to);
        edges
    }

    /// The rooms: what lies directly below the crate.
    pub(crate) fn rooms(&self) -> BTreeSet<&str> {
        self.uses
            .keys()
            .filter_map(|module| module.first())
            .map(String::as_str)
            .collect()
    }

    /// The module with a file that a path leads to.
    fn module_of(&self, path: &[String]) -> Module {
        (0..=path.len())
            .rev()
            .map(|len| path[..len].to_vec())
            .find(|module| self.uses.contains_key(module))
            .unwrap_or_default()
    }

    /// The path behind re-exports.
    fn origin(&self, path: &[String]) -> Vec<String> {
        let mut path = path.to_vec();
        // As many steps as there are re-exports at most, should they ever lead to each other.
        for _ in 0..=self.exports.len() {
            let Some((len, origin)) =
                (0..=path.len()).find_map(|len| Some((len, self.exports.get(&path[..len])?)))
            else {
                break;
            };
            path = [origin, &path[len..]].concat();
        }
        path
    }
}

/// The module that a file below `src` holds. The program's `main` is a room beside the library's.
fn module(path: &str) -> Module {
    let path = path.strip_suffix(".rs").expect("a Rust file");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" => Module::new(),
        path => path.split('/').map(str::to_owned).collect(),
    }
}

/// All Rust files below `dir`, by their path below `src`, with their text.
pub(crate) fn find(src: &Path, dir: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(src, &path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let name = path.strip_prefix(src).unwrap().to_str().unwrap().to_owned();
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The modules that a file declares for tests only, such as `mod tests;`.
fn tests_of(module: &Module, file: &File) -> Vec<Module> {
    let declared = file.items.iter().filter_map(|item| match item {
        Item::Mod(item) if only_tests(&item.attrs) => Some(item.ident.to_string()),
        _ => None,
    });
    declared
        .map(|name| [&module[..], &[name]].concat())
        .collect()
}

/// `#[cfg(test)]`
fn only_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Ident>()
                .is_ok_and(|name| name == "test")
    })
}

struct Reader {
    /// The module that is being read; modules written in the same file are below the file's own.
    here: Module,
    /// What a name of the file stands for: `Hold` is `engine::hold::Hold`.
    names: BTreeMap<String, Vec<String>>,
    uses: BTreeSet<Vec<String>>,
    exports: BTreeMap<Vec<String>, Vec<String>>,
}

impl Reader {
    fn new(here: Module) -> Self {
        Self {
            here,
            names: BTreeMap::new(),
            uses: BTreeSet::new(),
            exports: BTreeMap::new(),
        }
    }

    /// The path from the crate on, unless it leads to another crate.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" | "fisga" => Some(rest.to_vec()),
            "self" => self.below(&self.here, rest),
            "super" => self.below(self.here.split_last()?.1, rest),
            name => Some([self.names.get(name)?, rest].concat()),
        }
    }

    fn below(&self, base: &[String], rest: &[String]) -> Option<Vec<String>> {
        match rest.split_first() {
            Some((up, rest)) if up == "super" => self.below(base.split_last()?.1, rest),
            _ => Some([base, rest].concat()),
        }
    }

    fn used(&mut self, path: &[String]) {
        // The crate alone is only how far something is visible.
        let path = self.absolute(path).filter(|path| !path.is_empty());
        self.uses.extend(path);
    }

    /// Paths in what a macro or an attribute is given, which has no grammar of its own.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(name) if colons == 2 && !path.is_empty() => {
                    path.push(name.to_string());
                    colons = 0;
                }
                other => {
                    self.used(&std::mem::take(&mut path));
                    colons = 0;
                    match other {
                        TokenTree::Ident(name) => path.push(name.to_string()),
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        TokenTree::Punct(_) | TokenTree::Literal(_) => {}
                    }
                }
            }
        }
        self.used(&path);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if only_tests(&item.attrs) || item.content.is_none() {
            return;
        }
        self.here.push(item.ident.to_string());
        syn::visit::visit_item_mod(self, item);
        self.here.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        for (path, _) in leaves(&item.tree) {
            self.used(&path);
        }
    }

    fn visit_item(&mut self, item: &'ast Item) {
        if !matches!(item, Item::Fn(f) if only_tests(&f.attrs)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.used(&names);
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        self.tokens(item.tokens.clone());
        syn::visit::visit_macro(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
    }
}

/// Collects what names stand for, before paths are read.
struct Names<'a>(&'a mut Reader);

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if only_tests(&item.attrs) {
            return;
        }
        let name = item.ident.to_string();
        let path = [&self.0.here[..], std::slice::from_ref(&name)].concat();
        self.0.names.entry(name.clone()).or_insert(path);
        self.0.here.push(name);
        syn::visit::visit_item_mod(self, item);
        self.0.here.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        for (path, name) in leaves(&item.tree) {
            let Some(path) = self.0.absolute(&path) else {
                continue;
            };
            if !matches!(item.vis, Visibility::Inherited) {
                let offered = [&self.0.here[..], std::slice::from_ref(&name)].concat();
                self.0.exports.insert(offered, path.clone());
            }
            self.0.names.insert(name, path);
        }
    }
}

/// Each path of a `use` with the name under which it is known from then on.
fn leaves(tree: &UseTree) -> Vec<(Vec<String>, String)> {
    match tree {
        UseTree::Path(path) => leaves(&path.tree)
            .into_iter()
            .map(|(mut rest, name)| {
                let own = path.ident.to_string();
                let name = if name == "self" { own.clone() } else { name };
                if rest == ["self"] {
                    rest.clear();
                }
                rest.insert(0, own);
                (rest, name)
            })
            .collect(),
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
        UseTree::Name(name) => vec![(vec![name.ident.to_string()], name.ident.to_string())],
        UseTree::Rename(rename) => {
            vec![(vec![rename.ident.to_string()], rename.rename.to_string())]
        }
        // The module itself is used.
        UseTree::Glob(_) => vec![(vec!["self".into()], "*".into())],
    }
}
