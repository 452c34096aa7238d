//! Cells that counting placed, tried in every other order too: where only one keeps the structure,
//! it is that one.

use std::io;

use super::{
    blocks::Board,
    solve::{Video, fits},
};

/// Most cells that are tried in every order: 720 orders.
const MOST: usize = 6;
/// Most slots that are looked at in all: a second or two.
const LOOKS: usize = 500_000;

/// For one video alone whose slots are exactly what there is: settles slots that were `open` when
/// the walk ended. Nothing changes where no order fits, or where nothing was in question.
pub(super) fn settle(board: &Board, video: &mut Video, open: &[usize]) -> io::Result<()> {
    let all_there = board.free_from(0).next().is_none() && video.slots.iter().all(Option::is_some);
    let orders: usize = (1..=open.len().min(MOST + 1)).product();
    let bounded = open.len() <= MOST && orders * video.slots.len() <= LOOKS;
    if !(all_there && bounded) || (video.doubtful == 0 && fits(board, video)?) {
        return Ok(());
    }
    let Some(mut cells) = open
        .iter()
        .map(|slot| video.slots[*slot])
        .collect::<Option<Vec<_>>>()
    else {
        return Ok(());
    };
    cells.sort_unstable();
    let (old, mut found) = (video.slots.clone(), Vec::new());
    loop {
        open.iter()
            .zip(&cells)
            .for_each(|(slot, cell)| video.slots[*slot] = Some(*cell));
        if fits(board, video)? {
            found.push(video.slots.clone());
        }
        if board.is_spent() {
            found.clear();
            break;
        }
        if !next_order(&mut cells) {
            break;
        }
    }
    let only = found.len() == 1;
    // In doubt, the runs go on as far as they can: the first order.
    video.slots = found.into_iter().next().unwrap_or(old);
    if only {
        video.doubtful = 0;
    } else {
        video.doubtful = video.doubtful.max(open.len());
    }
    Ok(())
}

/// The next order of distinct numbers; `false` after the last one.
fn next_order(cells: &mut [usize]) -> bool {
    let Some(turn) = cells.windows(2).rposition(|pair| pair[0] < pair[1]) else {
        return false;
    };
    let other = cells
        .iter()
        .rposition(|cell| *cell > cells[turn])
        .unwrap_or(turn);
    cells.swap(turn, other);
    cells[turn + 1..].reverse();
    true
}

#[cfg(test)]
mod tests {
    #[test]
    fn orders() {
        let mut cells = [1, 4, 7];
        let mut all = vec![cells];
        while super::next_order(&mut cells) {
            all.push(cells);
        }
        assert_eq!(
            all,
            [
                [1, 4, 7],
                [1, 7, 4],
                [4, 1, 7],
                [4, 7, 1],
                [7, 1, 4],
                [7, 4, 1]
            ]
        );
    }
}
