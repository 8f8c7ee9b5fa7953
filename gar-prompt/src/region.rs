//! Regions: masks in prompt slots.

use ndarray::{Array2, Zip};

use crate::{Error, Mask, Result};

/// The slot the released code gives a region that stands alone.
const SINGLE_SLOT: usize = 1;

/// A mask with at least one set pixel, standing in a prompt slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    slot: usize,
    mask: Mask,
    name: Option<String>,
}

impl Region {
    /// A region in slot `slot`.
    ///
    /// # Errors
    /// [`Error::EmptyMask`] where the mask has no set pixel.
    pub fn new(slot: usize, mask: Mask) -> Result<Self> {
        if mask.is_empty() {
            return Err(Error::EmptyMask { slot, width: mask.width(), height: mask.height() });
        }
        Ok(Self { slot, mask, name: None })
    }

    /// Gives the region a name for people, as shown in an overlay. The model does not see it.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The prompt slot `i` of `<Prompt{i}>`.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// The mask; never empty.
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// The name for people, if any.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

/// Regions of one image in prompt order: slots are distinct, masks share one size.
///
/// ```
/// use gar_prompt::{Mask, RegionSet};
///
/// let left = Mask::from_box(8, 4, [0.0, 0.0, 4.0, 4.0])?;
/// let all = Mask::from_box(8, 4, [0.0, 0.0, 8.0, 4.0])?;
/// let regions = RegionSet::numbered([left, all])?;
/// assert_eq!(regions.slots(), [0, 1]);
/// let labels = regions.label_map(5)?;
/// assert_eq!((labels[[0, 0]], labels[[0, 7]]), (0, 1));
/// # Ok::<(), gar_prompt::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegionSet {
    regions: Vec<Region>,
}

impl RegionSet {
    /// A set without regions: a question about the image as a whole.
    pub fn new() -> Self {
        Self::default()
    }

    /// Masks in slots 0, 1, 2, ….
    ///
    /// # Errors
    /// Those of [`push`](Self::push).
    pub fn numbered(masks: impl IntoIterator<Item = Mask>) -> Result<Self> {
        let mut set = Self::new();
        for (slot, mask) in masks.into_iter().enumerate() {
            set.push(slot, mask)?;
        }
        Ok(set)
    }

    /// One mask in slot 1, where the released code puts a region that stands alone.
    ///
    /// # Errors
    /// [`Error::EmptyMask`].
    pub fn single(mask: Mask) -> Result<Self> {
        let mut set = Self::new();
        set.push(SINGLE_SLOT, mask)?;
        Ok(set)
    }

    /// Appends a mask in slot `slot`.
    ///
    /// # Errors
    /// [`Error::EmptyMask`], and those of [`push_region`](Self::push_region). The set is then unchanged.
    pub fn push(&mut self, slot: usize, mask: Mask) -> Result<()> {
        self.push_region(Region::new(slot, mask)?)
    }

    /// Appends a region.
    ///
    /// # Errors
    /// [`Error::SlotTaken`]; [`Error::MaskSize`] for a mask of another size than those before it. The set is then
    /// unchanged.
    pub fn push_region(&mut self, region: Region) -> Result<()> {
        if self.regions.iter().any(|r| r.slot == region.slot) {
            return Err(Error::SlotTaken { slot: region.slot, taken: self.slots() });
        }
        if let Some((width, height)) = self.size() {
            check_mask(&region, width, height)?;
        }
        self.regions.push(region);
        Ok(())
    }

    /// The regions in prompt order.
    pub fn iter(&self) -> std::slice::Iter<'_, Region> {
        self.regions.iter()
    }

    /// Number of regions.
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// Whether there is no region.
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// Width and height of the masks; `None` without regions.
    pub fn size(&self) -> Option<(usize, usize)> {
        self.regions.first().map(|r| (r.mask.width(), r.mask.height()))
    }

    /// The slots in prompt order.
    pub fn slots(&self) -> Vec<usize> {
        self.regions.iter().map(Region::slot).collect()
    }

    /// Checks that the masks are of the image's size. A set without regions fits any image.
    ///
    /// # Errors
    /// [`Error::MaskSize`].
    pub fn check_image(&self, width: usize, height: usize) -> Result<()> {
        self.regions.iter().try_for_each(|region| check_mask(region, width, height))
    }

    /// Checks the regions against a model with `prompt_slots` slots.
    ///
    /// # Errors
    /// [`Error::TooManyRegions`], [`Error::SlotOutOfRange`].
    pub fn check_slots(&self, prompt_slots: usize) -> Result<()> {
        if self.len() > prompt_slots {
            return Err(Error::TooManyRegions { slots: prompt_slots, found: self.len() });
        }
        match self.regions.iter().find(|r| r.slot >= prompt_slots) {
            Some(region) => Err(Error::SlotOutOfRange { slot: region.slot, slots: prompt_slots }),
            None => Ok(()),
        }
    }

    /// The label map [H, W] of a model with `prompt_slots` slots: at each pixel the slot of the first region in
    /// prompt order that covers it, else `prompt_slots`, which stands for `<NO_Prompt>`.
    ///
    /// The vision tower sees only whether a label is below `prompt_slots`; what tells regions apart is their replayed
    /// features. The label's value matters all the same: the released code resizes the map like a picture, so the rim
    /// of a region depends on it.
    ///
    /// # Errors
    /// [`Error::NoRegions`] for an empty set, which has no size; [`Error::TooManySlots`] above 255 slots; those of
    /// [`check_slots`](Self::check_slots).
    pub fn label_map(&self, prompt_slots: usize) -> Result<Array2<u8>> {
        let none = u8::try_from(prompt_slots).map_err(|_| Error::TooManySlots { found: prompt_slots })?;
        let (width, height) = self.size().ok_or(Error::NoRegions { what: "label map" })?;
        self.check_slots(prompt_slots)?;
        let mut labels = Array2::from_elem((height, width), none);
        for region in &self.regions {
            // `check_slots` holds every slot below `none`.
            let slot = u8::try_from(region.slot).map_err(|_| Error::TooManySlots { found: region.slot })?;
            Zip::from(&mut labels).and(region.mask.view()).for_each(|label, &set| {
                if set && *label == none {
                    *label = slot;
                }
            });
        }
        Ok(labels)
    }
}

impl<'a> IntoIterator for &'a RegionSet {
    type Item = &'a Region;
    type IntoIter = std::slice::Iter<'a, Region>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn check_mask(region: &Region, width: usize, height: usize) -> Result<()> {
    let found = (region.mask.width(), region.mask.height());
    if found != (width, height) {
        return Err(Error::MaskSize { slot: region.slot, expected: (width, height), found });
    }
    Ok(())
}
