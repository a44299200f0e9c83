//! Threads and kernel path together, and the products.

use crate::buffer::Shards;
use crate::dispatch::{Table, by_height, panel_height, table};
use crate::error::same;
use crate::product::TileProduct;
use crate::{Activations, Format, Isa, KernelError, PackedMatrix, Pool, PoolOptions, TILE_ROWS};

/// Chunks per thread that a product is cut into, so that a thread that loses its core leaves little undone.
const CHUNKS_PER_THREAD: usize = 8;
/// Most tiles of one chunk: their weights stay in the second-level cache while panel after panel passes over them.
const MAX_CHUNK_TILES: usize = 8;
/// Most matrices of one call.
pub const MAX_PRODUCTS: usize = 8;
/// Most rows of a panel on any path.
const MAX_PANEL: usize = 8;

/// A thread pool and the kernels that it runs. One per process is enough; all operations of this crate are its methods.
pub struct Compute {
    pool: Pool,
    table: &'static Table,
}

/// What happens to a product's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// `out` is overwritten.
    Store,
    /// The result is added to `out`: a residual connection.
    Add,
}

/// One matrix of a call of [`Compute::multiply`].
pub struct Product<'a> {
    /// The weights, `n` rows × as many columns as the activations.
    pub matrix: &'a PackedMatrix,
    /// `n` values that are added to each result row.
    pub bias: Option<&'a [f32]>,
    /// What happens to the result.
    pub write: Write,
    /// Activation rows × `n` values, row after row.
    pub out: &'a mut [f32],
}

/// The function between the two halves of a gated feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// `x / (1 + e^−x)`: Llama, Qwen, Phi.
    Silu,
    /// GELU by its tanh approximation: Gemma.
    GeluTanh,
}

impl Compute {
    /// Starts the threads; the kernel path is the one that [`crate::PATH_VARIABLE`] names, or the best one.
    ///
    /// # Errors
    /// [`KernelError::UnknownPath`] or [`KernelError::Thread`].
    pub fn new(options: PoolOptions) -> Result<Self, KernelError> {
        Self::with_isa(options, Isa::from_environment()?)
    }

    /// Starts the threads and takes the kernels of one path.
    ///
    /// # Errors
    /// [`KernelError::UnknownPath`] when this processor cannot run it, [`KernelError::Thread`].
    pub fn with_isa(options: PoolOptions, isa: Isa) -> Result<Self, KernelError> {
        match table(isa) {
            Some(table) => Ok(Self { pool: Pool::new(options)?, table }),
            None => Err(Isa::parse(isa.name()).err().unwrap_or(KernelError::UnknownPath {
                path: isa.name().to_owned(),
                available: String::new(),
            })),
        }
    }

    /// The threads.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The kernel path in use.
    pub fn isa(&self) -> Isa {
        self.table.isa
    }

    pub(crate) fn table(&self) -> &'static Table {
        self.table
    }

    /// Multiplies the same activations with up to [`MAX_PRODUCTS`] matrices in one parallel region (query, key and value
    /// projections, say): `out[m][n] = Σ_k matrix[n][k] × activations[m][k] (+ bias[n])`.
    ///
    /// # Errors
    /// [`KernelError::Shape`] when a length or column count does not fit, or the activations were quantized for another
    /// path; [`KernelError::Unsupported`] for F32 and F16 weights (see [`Compute::multiply_dense`]).
    pub fn multiply(
        &self,
        activations: &Activations,
        products: &mut [Product<'_>],
    ) -> Result<(), KernelError> {
        self.check_panel(activations)?;
        let mut jobs = Vec::with_capacity(products.len());
        check_count(products.len())?;
        for product in products.iter_mut() {
            let kernels = self.kernels(product.matrix)?;
            jobs.push(Job::new(product, activations.rows(), activations.cols(), kernels)?);
        }
        self.run_chunks(&jobs, |job, tiles| {
            for (first, height, panel) in activations.panels() {
                let kernel: TileProduct = by_height(job.kernels, height);
                for tile in tiles.clone() {
                    let mut sums = [0.0; MAX_PANEL * TILE_ROWS];
                    // SAFETY: tile and panel were made for this matrix and path with `units` units, their column
                    // counts are equal, `sums` holds `height` rows of 16, and the table is one for this processor.
                    unsafe {
                        kernel(
                            job.matrix.tile(tile).as_ptr(),
                            panel,
                            job.matrix.units(),
                            sums.as_mut_ptr(),
                            TILE_ROWS,
                        );
                    }
                    job.finish(tile, first, sums.chunks_exact(TILE_ROWS).take(height));
                }
            }
        });
        Ok(())
    }

    /// [`Compute::multiply`] for F32 and F16 weights with `rows` rows of f32 activations.
    ///
    /// # Errors
    /// [`KernelError::Shape`] when a length or column count does not fit; [`KernelError::Unsupported`] for quantized weights.
    pub fn multiply_dense(
        &self,
        activations: &[f32],
        rows: usize,
        products: &mut [Product<'_>],
    ) -> Result<(), KernelError> {
        check_count(products.len())?;
        let mut jobs = Vec::with_capacity(products.len());
        for product in products.iter_mut() {
            let cols = product.matrix.cols();
            same("activation values", rows * cols, activations.len())?;
            let kernels = match product.matrix.format() {
                Format::F32 => &self.table.dense_f32,
                Format::F16 => &self.table.dense_f16,
                format => {
                    return Err(KernelError::Unsupported {
                        format,
                        operation: "a product with f32 activations",
                    });
                }
            };
            jobs.push(Job::new(product, rows, cols, kernels)?);
        }
        self.run_chunks(&jobs, |job, tiles| {
            let cols = job.matrix.cols();
            let mut first = 0;
            while first < rows {
                let height = panel_height(rows - first, self.table.panel);
                let kernel = by_height(job.kernels, height);
                let Some(panel) = activations.get(first * cols..(first + height) * cols) else { return };
                for tile in tiles.clone() {
                    let mut sums = [0.0; MAX_PANEL * TILE_ROWS];
                    // SAFETY: the tile has `cols` columns, `panel` has `height` rows of them, `sums` holds `height` rows
                    // of 16, and the table is one for this processor.
                    unsafe {
                        kernel(
                            job.matrix.tile(tile).as_ptr(),
                            panel.as_ptr(),
                            cols,
                            sums.as_mut_ptr(),
                            TILE_ROWS,
                        );
                    }
                    job.finish(tile, first, sums.chunks_exact(TILE_ROWS).take(height));
                }
                first += height;
            }
        });
        Ok(())
    }

    /// The two inner matrices of a gated feed-forward layer in one pass:
    /// `out[m][n] = f(Σ_k gate[n][k] × activations[m][k]) × Σ_k up[n][k] × activations[m][k]`.
    ///
    /// # Errors
    /// [`KernelError::Shape`] when the two matrices, the activations and `out` do not fit; [`KernelError::Unsupported`] for
    /// F32 and F16 weights.
    pub fn multiply_gated(
        &self,
        activations: &Activations,
        gate: &PackedMatrix,
        up: &PackedMatrix,
        function: Gate,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        self.check_panel(activations)?;
        same("columns of the up matrix", activations.cols(), up.cols())?;
        same("rows of the up matrix", gate.rows(), up.rows())?;
        let (gate_kernels, up_kernels) = (self.kernels(gate)?, self.kernels(up)?);
        let apply = match function {
            Gate::Silu => self.table.elementwise.silu_mul,
            Gate::GeluTanh => self.table.elementwise.gelu_tanh_mul,
        };
        let mut product = Product { matrix: gate, bias: None, write: Write::Store, out };
        let jobs = [Job::new(&mut product, activations.rows(), activations.cols(), gate_kernels)?];
        self.run_chunks(&jobs, |job, tiles| {
            for (first, height, panel) in activations.panels() {
                let (gate_kernel, up_kernel) =
                    (by_height(gate_kernels, height), by_height(up_kernels, height));
                for tile in tiles.clone() {
                    let mut gated = [0.0; MAX_PANEL * TILE_ROWS];
                    let mut sums = [0.0; MAX_PANEL * TILE_ROWS];
                    // SAFETY: as in `multiply`, for two matrices with the same numbers of rows and columns; the two
                    // arrays have the same length.
                    unsafe {
                        gate_kernel(
                            gate.tile(tile).as_ptr(),
                            panel,
                            gate.units(),
                            gated.as_mut_ptr(),
                            TILE_ROWS,
                        );
                        up_kernel(up.tile(tile).as_ptr(), panel, up.units(), sums.as_mut_ptr(), TILE_ROWS);
                        apply(&mut gated, &sums);
                    }
                    job.finish(tile, first, gated.chunks_exact(TILE_ROWS).take(height));
                }
            }
        });
        Ok(())
    }

    fn check_panel(&self, activations: &Activations) -> Result<(), KernelError> {
        same("panel height of the activations", self.table.panel, activations.panel())
    }

    fn kernels(&self, matrix: &PackedMatrix) -> Result<&'static [TileProduct; 4], KernelError> {
        let format = matrix.format();
        let unsupported = KernelError::Unsupported { format, operation: "a product with 8-bit activations" };
        self.table.products(format).ok_or(unsupported)
    }

    /// Cuts the tiles of all jobs into chunks and runs them on the pool.
    fn run_chunks<K: Sync>(
        &self,
        jobs: &[Job<'_, K>],
        chunk: impl Fn(&Job<'_, K>, std::ops::Range<usize>) + Sync,
    ) {
        let tiles: usize = jobs.iter().map(|job| job.matrix.tiles()).sum();
        let size = (tiles / (self.pool.threads() * CHUNKS_PER_THREAD)).clamp(1, MAX_CHUNK_TILES);
        let chunks = jobs.iter().map(|job| job.matrix.tiles().div_ceil(size)).sum();
        self.pool.run(chunks, |mut index| {
            for job in jobs {
                let tiles = job.matrix.tiles();
                let here = tiles.div_ceil(size);
                if index < here {
                    return chunk(job, index * size..((index + 1) * size).min(tiles));
                }
                index -= here;
            }
        });
    }
}

/// A checked [`Product`], shared by the workers.
struct Job<'a, K> {
    matrix: &'a PackedMatrix,
    bias: Option<&'a [f32]>,
    write: Write,
    out: Shards<'a, f32>,
    kernels: &'a [K; 4],
}

impl<'a, K> Job<'a, K> {
    fn new(
        product: &'a mut Product<'_>,
        rows: usize,
        cols: usize,
        kernels: &'a [K; 4],
    ) -> Result<Self, KernelError> {
        let matrix = product.matrix;
        same("columns of the matrix", cols, matrix.cols())?;
        same("values of the output", rows * matrix.rows(), product.out.len())?;
        if let Some(bias) = product.bias {
            same("values of the bias", matrix.rows(), bias.len())?;
        }
        Ok(Self { matrix, bias: product.bias, write: product.write, out: Shards::new(product.out), kernels })
    }

    /// Brings the sums of one tile, one slice of 16 per activation row from `first` on, to the output.
    fn finish<'s>(&self, tile: usize, first: usize, sums: impl Iterator<Item = &'s [f32]>) {
        let n = self.matrix.rows();
        let start = tile * TILE_ROWS;
        let len = TILE_ROWS.min(n - start);
        let bias = self.bias.and_then(|bias| bias.get(start..start + len));
        for (m, sums) in sums.enumerate() {
            // SAFETY: each tile has its own columns of the output and each is run once.
            let out = unsafe { self.out.slice((first + m) * n + start, len) };
            match self.write {
                Write::Store => out.iter_mut().zip(sums).for_each(|(o, s)| *o = *s),
                Write::Add => out.iter_mut().zip(sums).for_each(|(o, s)| *o += *s),
            }
            if let Some(bias) = bias {
                out.iter_mut().zip(bias).for_each(|(o, b)| *o += *b);
            }
        }
    }
}

fn check_count(products: usize) -> Result<(), KernelError> {
    if products > MAX_PRODUCTS {
        return Err(KernelError::OutOfRange { what: "product", index: products, len: MAX_PRODUCTS });
    }
    Ok(())
}
