//! What an object of a drawn scene can be, and the words for it.

use std::fmt;

/// A closed set of things with one word each.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$item_doc])* $item),+ }

        impl $name {
            /// All of them, in a fixed order: the classes of a linear head, for one.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$item),+];

            /// The word that questions and answers use.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$item => $word),+ }
            }

            /// Its place in [`ALL`](Self::ALL).
            pub const fn index(self) -> usize {
                self as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words! {
    /// The colour of an object, told by hue: shading, texture and glass change its brightness.
    Color {
        /// 0°.
        Red = "red",
        /// 30°.
        Orange = "orange",
        /// 54°.
        Yellow = "yellow",
        /// 130°.
        Green = "green",
        /// 185°.
        Cyan = "cyan",
        /// 225°.
        Blue = "blue",
        /// 275°.
        Purple = "purple",
        /// 330°, bright.
        Pink = "pink",
    }
}

words! {
    /// The outline of an object.
    Shape {
        /// A disc.
        Circle = "circle",
        /// Upright, tilted by 8° at most.
        Square = "square",
        /// Pointing up.
        Triangle = "triangle",
        /// A square on its corner.
        Diamond = "diamond",
        /// Five points.
        Star = "star",
        /// Two bars of equal length.
        Cross = "cross",
        /// A disc with a hole.
        Ring = "ring",
        /// Pointing down.
        Heart = "heart",
    }
}

words! {
    /// The pattern on an object, of a period of 7 to 10 pixels in a picture of 112.
    Texture {
        /// None.
        Plain = "plain",
        /// Straight bands: upright, level or diagonal.
        Striped = "striped",
        /// Dots on a square lattice.
        Dotted = "dotted",
        /// A chessboard.
        Checkered = "checkered",
        /// Bands around the centre.
        Ringed = "ringed",
    }
}

words! {
    /// What an object seems to be made of, told by its shading.
    Material {
        /// Flat: no shading at all.
        Paper = "paper",
        /// Shaded, with a small white highlight.
        Plastic = "plastic",
        /// Mirrors a bright sky and a dark ground that meet in a sharp line.
        Metal = "metal",
        /// Lets the background through, with a bright rim and a slanting glint.
        Glass = "glass",
        /// Grainy, with a dark rim.
        Stone = "stone",
    }
}

words! {
    /// The size of an object.
    Size {
        /// A radius of 11 to 12.5 pixels in a picture of 112.
        Small = "small",
        /// A radius of 15 to 17 pixels.
        Large = "large",
    }
}

words! {
    /// Whether an object is there or only seen.
    Nature {
        /// A real object.
        Real = "real",
        /// Its reflection in a mirror.
        Mirror = "mirror",
        /// Its image on a screen.
        Screen = "screen",
    }
}

/// Everything an object's looks are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Look {
    /// Its colour.
    pub color: Color,
    /// Its outline.
    pub shape: Shape,
    /// Its pattern.
    pub texture: Texture,
    /// Its shading.
    pub material: Material,
    /// Its size; what is seen in a mirror or on a screen keeps the word of its own drawn size.
    pub size: Size,
}

impl Look {
    /// `large red star made of metal with a striped texture`.
    pub fn phrase(&self) -> String {
        let Self { color, shape, texture, material, size } = self;
        format!("{size} {color} {shape} made of {material} with a {texture} texture")
    }
}

/// A place in a grid of like objects, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cell {
    /// Row, from the top.
    pub row: usize,
    /// Column, from the left.
    pub column: usize,
    /// Rows of the grid.
    pub rows: usize,
    /// Columns of the grid.
    pub columns: usize,
}
