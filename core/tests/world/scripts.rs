//! Golden scripts as tests. Whoever uses it has a module `script` that runs one, and says in `DIR` where
//! they are.

/// A test for each script, by its name; and that no script is left out.
macro_rules! scripts {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                script::run(stringify!($name));
            }
        )*

        #[test]
        fn every_script_is_run() {
            let listed: std::collections::BTreeSet<_> = [$(stringify!($name)),*].map(String::from).into();
            let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(script::DIR);
            let files = std::fs::read_dir(dir).expect("the scripts are there").map(|entry| {
                let path = entry.expect("it can be listed").path();
                path.file_stem().expect("a name").to_str().expect("plain").to_owned()
            });
            assert_eq!(files.collect::<std::collections::BTreeSet<_>>(), listed);
        }
    };
}
