//! Layers of images: kept once, as they are, and within the store's size.

use lighter::cache::{Described, Digest, Store};
use lighter::error::Result;

use crate::world::{World, get, module};

fn store(world: &World) -> Store {
    Store::open(&world.config.cache).unwrap()
}

fn described(content: &[u8]) -> Described {
    Described { digest: Digest::of(content), bytes: content.len() as u64, title: None }
}

/// Writes `content` in pieces as what `layer` describes.
fn write(store: &Store, layer: &Described, content: &[u8]) -> Result<()> {
    let mut writer = store.write_layer(layer)?;
    content.chunks(7).try_for_each(|piece| writer.write(piece))?;
    writer.finish()
}

/// WebAssembly that is nobody else's, of about `len` bytes.
fn wasm(number: u8, len: usize) -> Vec<u8> {
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    bytes.resize(len, number);
    bytes
}

#[test]
fn a_layer_is_kept_as_it_is() {
    let world = World::new();
    let (store, content) = (store(&world), wasm(1, 100));
    let layer = described(&content);
    assert!(!store.has_layer(&layer));
    write(&store, &layer, &content).unwrap();
    assert!(store.has_layer(&layer));
    assert_eq!(std::fs::read(store.layer_path(&layer.digest)).unwrap(), content);
    world.assert_tidy();
}

#[test]
fn what_is_not_what_it_should_be_is_not_kept() {
    let world = World::new();
    let (store, content) = (store(&world), wasm(1, 100));
    let layer = described(&content);
    let cases = [
        (wasm(2, 100), "its content in containerd has the digest sha256:"),
        (wasm(1, 101), "its content in containerd has more than 100 bytes"),
        (wasm(1, 99), "its content in containerd has 99 bytes rather than 100"),
    ];
    for (other, words) in cases {
        let error = write(&store, &layer, &other).unwrap_err().message;
        assert!(error.contains(words) && error.contains(&layer.digest.to_string()), "{error}");
    }
    for other in [&b"\x7fELF\x02\x01\x01\xc8"[..], b"(module)", b""] {
        let layer = described(other);
        assert!(write(&store, &layer, other).is_err());
        assert!(!store.has_layer(&layer));
    }
    assert!(!store.has_layer(&layer));
    assert_eq!(world.names("layers"), [""; 0]);
    world.assert_tidy();
}

#[test]
fn an_image_is_known_as_long_as_its_layers_are_there() {
    let world = World::new();
    let (store, content) = (store(&world), wasm(1, 100));
    let layer = Described { title: Some("app.wasm".into()), ..described(&content) };
    let image = Digest::of(b"a manifest");
    assert_eq!(store.layers_of(&image), None);
    write(&store, &layer, &content).unwrap();
    store.remember_layers(&image, std::slice::from_ref(&layer)).unwrap();
    assert_eq!(store.layers_of(&image), Some(vec![layer.clone()]));
    let none = Digest::of(b"another");
    store.remember_layers(&none, &[]).unwrap();
    assert_eq!(store.layers_of(&none), Some(Vec::new()));

    // Changed under its name: noticed, and gone.
    let path = store.layer_path(&layer.digest);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, wasm(2, 100)).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
    assert_eq!(store.layers_of(&image), None);
    assert!(!path.exists());
}

#[test]
fn layers_and_code_share_the_stores_size() {
    let mut world = World::new();
    world.config.cache.max_bytes = 1 << 20;
    get(&world.cache(), &world.file("app.wasm", &module(1))).unwrap();
    let code = store(&world).entries().unwrap()[0].bytes;
    world.config.cache.max_bytes = code + 250;
    let store = store(&world);
    let layers: Vec<_> = (1..4).map(|number| wasm(number, 100)).collect();
    // Times of use are those of the file system's clock.
    let pause = || std::thread::sleep(std::time::Duration::from_millis(20));
    for content in &layers {
        pause();
        write(&store, &described(content), content).unwrap();
        assert!(store.has_layer(&described(content)));
    }
    // The code was used before all of them.
    assert!(store.entries().unwrap().is_empty());
    assert_eq!(store.layers().unwrap().len(), 3);
    pause();
    assert!(store.has_layer(&described(&layers[0])));
    assert_eq!(store.prune(200, None), [100]);
    assert!(!store.has_layer(&described(&layers[1])), "it was used the longest ago");
    assert_eq!(store.clear().len(), 2);
    assert_eq!([world.names("layers"), world.names("seals")], [[""; 0], [""; 0]]);

    let large = wasm(9, 1 << 20);
    let error = write(&store, &described(&large), &large).unwrap_err().message;
    assert!(error.contains("1048576 bytes, more than cache.max_bytes"), "{error}");
}
