"""What a reviewer sees of each candidate, and what is measured of it, in every year that the configuration names.

The folder `rounds/<k>/evidence` holds pictures (WebP) and two tables. A name of a picture is that of its file in the folder.

`evidence.parquet` (GeoParquet, the grid's CRS): a row a candidate and year, candidates in the order of `candidates.parquet`,
years ascending; then the slumps that were known when the round began, but not yet measured: the seeds in the first round, in
later ones those that reviewers added in the round before; then the sampled windows of the audit, if there is one, of which
nothing is measured. What is said below of a candidate is true of such slumps too.

    candidate_id, year: of such a slump its label_id, of a window its window_id.
    west, south, east, north: bounds of the ground that its pictures show, in metres.
    item_id, acquired: the item shown and measured, and its time (ISO 8601, UTC); null where none shows the candidate.
    true_colour, false_colour: pictures of the candidate's ground (false: nir, red, green), all years with one stretch; null.
    outlined: picture in true colour with the candidate's and the known outline, where a known slump changed; with the window
        and what is known in it; else null.
    usable_fraction: share of the picture that is usable; 0 where every image is clouded there, nan where there is none.
    shift_east_m, shift_north_m: displacement of the image that was taken back; nan without an image.
    reason: why there is no picture; "" where there is one.
    hillshade, slope: pictures of the same ground from the DEM, the same in each year; null.
    terrain_reason: why there are none; "" where there are.
    -- numbers, which the reviewer sees after the verdict --
    observed_fraction: share of the candidate's outline that is usable in that image; nan without an image.
    seen: whether the network outlines a slump that touches the candidate's outline, by the round's thresholds and smallest
        area; null where it isn't known: no image, or no outline in one that doesn't show the whole candidate.
    area_m2: of what is outlined (geodesic), 0 where seen is false; nan where seen is null, or the image doesn't show all of it.
    prob_mean, prob_max: the network's probability over the candidate's outline, usable pixels; nan where there is none.
    ndvi, brightness: means over the candidate's outline; brightness is the mean reflectance of blue, green and red.
    ndvi_ring, brightness_ring: the same in the half of a ring around the outline that lies upslope of its centre.
    headwall_m: how far the upslope edge lies upslope of that of the candidate's outline; nan where nothing is outlined whole.
    misregistration_m: standard error of the image's place against the target year's, along one direction (see `places`).
    numbers_reason: what of the numbers is missing and why; "" where nothing is.
    outline: geometry, what the network outlines there in that year; null where it outlines nothing.

`change.parquet`: a row a candidate or such a slump, in the same order; numbers, which the reviewer sees after the verdict.

    candidate_id
    n_images, n_seen: years with an image, and those with `seen` true.
    first_year_visible: first year with `seen` true; null where there is none.
    last_year_absent: last year before it with `seen` false; null: there is none, and the slump may be older than the images.
    growth_m2_yr, growth_low_m2_yr, growth_high_m2_yr: slope of the area from the first visible year on, and its interval.
    retreat_m_yr, retreat_error_m_yr: slope of headwall_m, and half of its 95 % interval by misregistration alone.
    uphill_deg: direction of the steepest ascent at the candidate, clockwise from grid north.
    monotone_growth: whether the outline never shrinks; null where fewer than two years tell.
    two_years: whether it is there in two years that follow each other; null where missing years leave it open.
    score, rank: what a verdict is worth with the years taken into account, and the order (1 first); null for
        slumps that aren't candidates.
    reason: what of these is missing and why; "" where nothing is.
"""
