use super::*;
use crate::inspect;

const FAMILIES: [Family; 5] = [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma3, Family::Phi3];

#[test]
fn random_blocks_have_the_size_and_the_spread_that_was_asked_for() {
    let mut random = SplitMix::new(5);
    for kind in TensorType::ALL {
        let mut bytes = Vec::new();
        let blocks = 64 * 256 / kind.block_elements();
        (0..blocks).for_each(|_| quantize::random_block(kind, 0.5, &mut random, &mut bytes));
        assert_eq!(bytes.len() as u64, blocks * kind.block_bytes(), "{}", kind.name());
        let values = candle_core::quantized::GgmlDType::from(kind)
            .from_data(bytes.into())
            .dequantize(64 * 256)
            .unwrap();
        let candle_core::CpuStorage::F32(values) = values else { panic!("not floats") };
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let deviation =
            (values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / values.len() as f32).sqrt();
        assert!(
            mean.abs() < 0.1 && (0.35..0.65).contains(&deviation),
            "{}: {mean} ± {deviation}",
            kind.name()
        );
    }
}

#[test]
fn every_family_and_quantization_makes_a_file_that_can_be_inspected() {
    let folder = tempfile::tempdir().unwrap();
    for family in FAMILIES {
        for kind in [TensorType::Q4_0, TensorType::Q4K, TensorType::Q8_0] {
            let path = folder.path().join(format!("{}-{}.gguf", family.architecture(), kind.name()));
            write_random(&path, &Shape::small(family), kind, 1).unwrap();
            let info = inspect(&path).unwrap();
            assert_eq!(info.family, Some(family));
            assert_eq!(info.file_bytes, path.metadata().unwrap().len());
            if family != Family::Phi3 && kind != TensorType::Q4K {
                assert_eq!(info.quantization, kind.name());
            }
        }
    }
}

#[test]
fn the_same_seed_makes_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, seed| {
        let path = folder.path().join(name);
        write_random(&path, &Shape::small(Family::Llama), TensorType::Q8_0, seed).unwrap();
        std::fs::read(path).unwrap()
    };
    assert_eq!(make("a", 1), make("b", 1));
    assert_ne!(make("c", 1), make("d", 2));
}

#[test]
fn rows_that_do_not_divide_into_blocks_fall_back() {
    assert_eq!(fitting(TensorType::Q4K, 896), TensorType::Q5_0);
    assert_eq!(fitting(TensorType::Q6K, 960), TensorType::Q8_0);
    assert_eq!(fitting(TensorType::Q4K, 1024), TensorType::Q4K);
    let header =
        |shape: &Shape| plan(shape, TensorType::Q4K).iter().map(|planned| planned.kind).collect::<Vec<_>>();
    assert!(header(&Shape::QWEN2_5_0_5B).contains(&TensorType::Q5_0));
}
