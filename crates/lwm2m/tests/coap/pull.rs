//! Files read block by block by their reader (RFC 7959 §2.4), and given without memory.

use super::pair::{Pair, Weather, ask, body, size};
use updraft_lwm2m::coap::block::serve;
use updraft_lwm2m::coap::option::number;
use updraft_lwm2m::coap::{
    Block, BlockSize, Code, Config, Download, Event, Method, Progress, Request, Response,
};

#[test]
fn one_block_of_a_file_is_found_without_memory_and_past_the_end_there_is_none() {
    let at = |number, bytes| Some(Block { number, more: false, size: size(bytes) });
    let slice = serve(at(2, 1024), 2500, size(1024)).expect("the last");
    assert_eq!((slice.offset, slice.length, slice.block.more, slice.size2), (2048, 452, false, None));
    let first = serve(None, 2500, size(256)).expect("the first, in our size");
    assert_eq!((first.length, first.block.more, first.size2), (256, true, Some(2500)));
    let rescaled = serve(at(1, 1024), 2500, size(64)).expect("in our smaller size");
    assert_eq!((rescaled.offset, rescaled.length, rescaled.block.number), (1024, 64, 16));
    assert_eq!(serve(at(3, 1024), 2500, size(1024)), Err(Code::BAD_REQUEST));
    assert_eq!(serve(at(0xF_FFFF, 1024), 2500, size(1024)), Err(Code::BAD_REQUEST));
    assert_eq!(serve(at(0xF_FFFF, 1024), u64::MAX, size(16)), Err(Code::INTERNAL_SERVER_ERROR));
    let empty = serve(None, 0, size(1024)).expect("an empty file");
    assert_eq!((empty.length, empty.block.more, empty.size2), (0, false, Some(0)));
}

/// Reads a file that `serve` serves, with a version for each request; gives what came, and how often it began again.
fn pull(
    pair: &mut Pair,
    mut download: Download,
    mut file: impl FnMut(usize) -> (Vec<u8>, [u8; 1]),
) -> (Vec<u8>, usize) {
    let (mut got, mut restarts, mut asked) = (Vec::new(), 0, 0);
    loop {
        let request = download.next_request().expect("few blocks");
        let (_, outcome) = ask(pair, request, &mut |request| {
            let (bytes, etag) = file(asked);
            asked += 1;
            match serve(request.block2(), bytes.len() as u64, size(512)) {
                Ok(slice) => {
                    let from = usize::try_from(slice.offset).expect("in memory");
                    slice.response(42, &etag, bytes[from..from + slice.length].to_vec())
                }
                Err(code) => Response::new(code),
            }
        });
        let Event::Response { response, .. } = outcome else { panic!("{outcome:?}") };
        match download.handle_response(response) {
            Progress::Bytes(bytes) => got.extend(bytes),
            Progress::Last(bytes) => {
                got.extend(bytes);
                return (got, restarts);
            }
            Progress::Restarted => {
                got.clear();
                restarts += 1;
            }
            other @ (Progress::Refused(_) | Progress::Broken) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_file_is_pulled_whole_through_bad_weather_and_nothing_of_it_is_kept_by_the_server() {
    let weather = Weather { lost: 50, ..Weather::FOUL };
    let mut pair = Pair::new(4, weather, Config::default(), Config::default());
    let file = body(30_000);
    let download = Download::new(Request::new(Method::Get, "/fw/1"), BlockSize::MAX);
    let (got, restarts) = pull(&mut pair, download, |_| (file.clone(), [1]));
    assert!(got == file && restarts == 0);
    assert!(pair.far.held_bytes() < 2048, "{}", pair.far.held_bytes());
}

#[test]
fn a_pull_resumes_at_its_byte_and_begins_again_where_the_file_has_changed() {
    let file = body(5000);
    for from in [0, 1, 511, 512, 4999, 5000] {
        let get = Request::new(Method::Get, "/fw/1");
        let resumed = Download::resume(get.clone(), BlockSize::MAX, from, vec![1]);
        let from = usize::try_from(from).expect("in memory");
        let (got, restarts) = pull(&mut Pair::fair(), resumed, |_| (file.clone(), [1]));
        assert!(got == file[from..] && restarts == 0, "{from}");
        let other = Download::resume(get.clone(), BlockSize::MAX, 2048, vec![2]);
        let (got, restarts) = pull(&mut Pair::fair(), other, |_| (file.clone(), [1]));
        assert!(got == file && restarts == 1);
    }
    // It became shorter than what is there of it.
    let get = Request::new(Method::Get, "/fw/1");
    let (got, restarts) =
        pull(&mut Pair::fair(), Download::resume(get.clone(), BlockSize::MAX, 9000, vec![1]), |_| {
            (file.clone(), [2])
        });
    assert!(got == file && restarts == 1);
    let changing = |asked| if asked < 3 { (body(4000), [1]) } else { (body(6000), [2]) };
    let (got, restarts) = pull(&mut Pair::fair(), Download::new(get, BlockSize::MAX), changing);
    assert!(got == body(6000) && restarts == 1);
}

#[test]
fn a_download_whose_blocks_contradict_each_other_is_broken() {
    let download = || Download::new(Request::new(Method::Get, "/fw/1"), BlockSize::MAX);
    let block = |number, more, length| {
        Response::content(42, vec![0; length]).with_block2(Block { number, more, size: size(1024) }, None)
    };
    assert_eq!(download().handle_response(block(1, true, 1024)), Progress::Broken, "not the one asked for");
    assert_eq!(download().handle_response(block(0, true, 1023)), Progress::Broken, "too short");
    let mut short = block(0, false, 10);
    short.options.push_uint(number::SIZE2, 11);
    assert_eq!(download().handle_response(short), Progress::Broken, "not of its size");
    let mut reserved = block(0, false, 10);
    reserved.options.set_uint(number::BLOCK2, 7);
    assert_eq!(download().handle_response(reserved), Progress::Broken, "the reserved size");
    let gone = Response::new(Code::NOT_FOUND);
    assert_eq!(download().handle_response(gone.clone()), Progress::Refused(gone));
}
