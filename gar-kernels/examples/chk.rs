//! uncommitted
use gar_kernels::cuda::*;
fn main() {
    let c = Compiler::find().unwrap();
    for path in std::env::args().skip(1) {
        let text: &'static str = Box::leak(std::fs::read_to_string(&path).unwrap().into_boxed_str());
        let source: &'static Source = Box::leak(Box::new(Source { name: "v", text }));
        let kernel = Kernel {
            source,
            function: "matmul_few",
            defines: vec![("GAR_T", "bf16".into()), ("GAR_TILES", "1".into())],
        };
        match c.compile(&kernel, "sm_90a") {
            Ok(o) => {
                let l: Vec<&str> = o.log.lines().collect();
                let i = l.iter().position(|l| l.contains("'matmul_few'")).unwrap();
                println!("{path} {:?}", &l[i..(i + 4).min(l.len())]);
            }
            Err(e) => println!("{path} {e}"),
        }
    }
}
