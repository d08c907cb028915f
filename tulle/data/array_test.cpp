// NPY, NPZ and MATLAB files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tulle/data/data_testing.h"
#include "tulle/data/formats_testing.h"
#include "tulle/data/npy.h"
#include "tulle/data/readers.h"

namespace tulle {

ReadBytes read_npy, read_npz, read_mat;

}  // namespace tulle

namespace tulle::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Member = std::pair<std::string, std::string>;

RawSplit from_npy(std::string_view text) { return read_npy(bytes_of(text), "f", {}); }
RawSplit from_npz(const std::vector<Member>& members, const ReadOptions& options = {}) {
  return read_npz(bytes_of(zip(members)), "f", options);
}
RawSplit from_mat(const std::string& elements, const ReadOptions& options = {}) {
  return read_mat(bytes_of(mat(elements)), "f", options);
}

TEST(Npy, ReadsEveryTypeInEitherByteOrder) {
  const auto values = [](std::string_view descr, const std::string& data) {
    return from_npy(npy(descr, "(1, 2)", data)).inputs;
  };
  EXPECT_THAT(values("|u1", "\x05\xff").bytes, ElementsAre(5, 255));
  EXPECT_THAT(values("|b1", std::string("\x00\x01", 2)).floats, ElementsAre(0, 1));
  EXPECT_THAT(values("|i1", "\x05\xff").floats, ElementsAre(5, -1));
  EXPECT_THAT(values("<i2", std::string("\x05\x00\xff\xff", 4)).floats, ElementsAre(5, -1));
  EXPECT_THAT(values(">i2", std::string("\x00\x05\xff\xfe", 4)).floats, ElementsAre(5, -2));
  EXPECT_THAT(values("<u4", raw<std::uint32_t>({7, 4000000000u})).floats, ElementsAre(7, 4e9f));
  EXPECT_THAT(values("<i8", raw<std::int64_t>({-7, 1ll << 40})).floats, ElementsAre(-7, 1099511627776.0f));
  EXPECT_THAT(values("<f8", raw<double>({0.1, -2.5})).floats, ElementsAre(0.1f, -2.5f));
  EXPECT_THAT(values("<f2", std::string("\x00\x3c\x01\x80", 4)).floats, ElementsAre(1, -5.9604645e-8f));
  EXPECT_THAT(values(">f4", std::string("\x3f\x80\x00\x00\xc0\x00\x00\x00", 8)).floats, ElementsAre(1, -2));
}

TEST(Npy, ReadsFortranOrderAndFlattensFurtherDimensions) {
  const std::vector<double> columns{1, 4, 2, 5, 3, 6};
  EXPECT_THAT(from_npy(npy("<f8", "(2, 3)", raw(columns), true)).inputs.floats,
              ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(from_npy(npy("|u1", "(2, 3)", "adbecf", true)).inputs.floats,
              ElementsAre('a', 'b', 'c', 'd', 'e', 'f'));
  const Features cube = from_npy(npy("|u1", "(2, 2, 2)", "abcdefgh")).inputs;
  EXPECT_EQ(cube.samples, 2);
  EXPECT_EQ(cube.features, 4);
  // (2, 2, 2) with the first index fastest: element [i][j][k] is at i + 2 j + 4 k.
  EXPECT_THAT(
      from_npy(npy("<i4", "(2, 2, 2)", raw<std::int32_t>({0, 1, 2, 3, 4, 5, 6, 7}), true)).inputs.floats,
      ElementsAre(0, 4, 2, 6, 1, 5, 3, 7));
}

TEST(Npy, ReadsVersionsAndLabelsAlone) {
  for (const int version : {1, 2, 3})
    EXPECT_THAT(from_npy(npy("<i4", "(3,)", raw<std::int32_t>({4, 5, -6}), false, version)).labels.numbers,
                ElementsAre(4, 5, -6));
}

TEST(Npy, RefusesWhatItCannotKnow) {
  const auto message = [](const std::string& text) { return refusal([&] { from_npy(text); }); };
  EXPECT_THAT(message(npy("|O", "(2, 2)", "")), HasSubstr("NPY dtype"));
  EXPECT_THAT(message(npy("<c16", "(2, 2)", "")), HasSubstr("NPY dtype"));
  EXPECT_THAT(message(npy("<f4', 'x': '", "(2, 2)", "")), HasSubstr("found"));
  EXPECT_THAT(message(npy("<f4", "(65536, 65536)", "abcd")),
              HasSubstr("expected at most the 4 bytes there are"));
  EXPECT_THAT(message(npy("<f4", "(4294967296, 4294967296, 4)", "abcd")),
              HasSubstr("one that fits the file"));
  EXPECT_THAT(message(npy("<f4", "(-1, 2)", "abcd")), HasSubstr("NPY shape"));
  EXPECT_THAT(message(npy("<f4", "(1, 1)", "abcd", false, 4)), HasSubstr("NPY version, found 4"));
  EXPECT_THAT(message(npy("<f4", "(1, 1)", raw<float>({kNan}))), HasSubstr("array 'X', found nan at row 0"));
  EXPECT_THAT(message(std::string("\x93NUMPY\x01\x00\xff\xff{}", 12)),
              HasSubstr("NPY header, found 65535 bytes"));
}

TEST(Npz, TakesInputsAndLabelsByTheirNames) {
  const std::vector<Member> members{{"a.npy", npy("<f4", "(2, 1)", raw<float>({1, 2}))},
                                    {"X.npy", npy("<f4", "(2, 1)", raw<float>({3, 4}))},
                                    {"y", npy("<i8", "(2,)", raw<std::int64_t>({1, 0}))},
                                    {"other.npy", npy("<i8", "(2,)", raw<std::int64_t>({8, 9}))}};
  EXPECT_THAT(from_npz(members).inputs.floats, ElementsAre(3, 4));
  EXPECT_THAT(from_npz(members).labels.numbers, ElementsAre(1, 0));
  const RawSplit named = from_npz(members, {.arrays = "a,other"});
  EXPECT_THAT(named.inputs.floats, ElementsAre(1, 2));
  EXPECT_THAT(named.labels.numbers, ElementsAre(8, 9));
  EXPECT_EQ(from_npz(members, {.arrays = "a"}).labels.size(), 0u);
  EXPECT_THAT(refusal([&] { from_npz(members, {.arrays = "b"}); }),
              HasSubstr("data.arrays, found 'b', expected one of a, X, y, other"));
  EXPECT_THAT(refusal([&] { from_npz({members[0], members[3]}); }), HasSubstr("arrays, found a, other"));
}

// [[0, 5, 0], [0, 0, 0], [7, 0, 9]] as SciPy's save_npz writes it.
std::vector<Member> saved(const std::string& format) {
  std::vector<Member> members{{"format.npy", npy("|S3", "()", format)},
                              {"shape.npy", npy("<i8", "(2,)", raw<std::int64_t>({3, 3}))}};
  const auto ints = [](std::vector<std::int32_t> v) {
    return npy("<i4", "(" + std::to_string(v.size()) + ",)", raw(v));
  };
  const auto floats = [](std::vector<double> v) {
    return npy("<f8", "(" + std::to_string(v.size()) + ",)", raw(v));
  };
  if (format == "csr")
    return {{"indices.npy", ints({1, 0, 2})},
            {"indptr.npy", ints({0, 1, 1, 3})},
            members[0],
            members[1],
            {"data.npy", floats({5, 7, 9})}};
  if (format == "csc")
    return {{"indices.npy", ints({2, 0, 2})},
            {"indptr.npy", ints({0, 1, 2, 3})},
            members[0],
            members[1],
            {"data.npy", floats({7, 5, 9})}};
  return {{"row.npy", ints({2, 0, 2})},
          {"col.npy", ints({2, 1, 0})},
          members[0],
          members[1],
          {"data.npy", floats({9, 5, 7})}};
}

TEST(Npz, ReadsSparseMatricesAsScipySavesThem) {
  for (const char* format : {"csr", "csc", "coo"}) {
    std::vector<Member> members = saved(format);
    members.emplace_back("_is_array.npy", npy("|b1", "()", "\x01"));
    const Features inputs = from_npz(members).inputs;
    EXPECT_EQ(inputs.samples, 3) << format;
    EXPECT_EQ(inputs.features, 3);
    EXPECT_THAT(inputs.sparse.row_ptr, ElementsAre(0, 1, 1, 3));
    EXPECT_THAT(inputs.sparse.columns, ElementsAre(1, 0, 2));
    EXPECT_THAT(inputs.sparse.values, ElementsAre(5, 7, 9));
  }
  EXPECT_THAT(refusal([] { from_npz(saved("bsr")); }), HasSubstr("sparse format, found 'bsr'"));
}

TEST(Npz, RefusesSparseMatricesThatContradictThemselves) {
  for (const std::size_t without : {0u, 1u, 3u}) {
    std::vector<Member> members = saved("csr");
    members.erase(members.begin() + static_cast<std::ptrdiff_t>(without));
    EXPECT_THAT(refusal([&] { from_npz(members); }), HasSubstr("f: ")) << without;
  }
  std::vector<Member> members = saved("csr");
  members[0].second = npy("<i4", "(3,)", raw<std::int32_t>({1, 0, 3}));
  EXPECT_THAT(refusal([&] { from_npz(members); }), HasSubstr("array 'indices', found 3 at 2"));
  members = saved("csr");
  members[1].second = npy("<i4", "(4,)", raw<std::int32_t>({0, 2, 1, 3}));
  EXPECT_THAT(refusal([&] { from_npz(members); }), HasSubstr("array 'indptr'"));
  members = saved("csr");
  members[0].second = npy("<i4", "(3,)", raw<std::int32_t>({1, 2, 2}));
  EXPECT_THAT(refusal([&] { from_npz(members); }), HasSubstr("found column 2 twice in row 2"));
}

TEST(Npz, WhatIsNotFiniteInASparseMatrixIsToldByRowAndColumn) {
  std::vector<Member> members = saved("csr");
  members[4].second = npy("<f8", "(3,)", raw<double>({5, 7, kInfinity}));
  EXPECT_THAT(refusal([&] { from_npz(members); }), HasSubstr("array 'data', found inf at row 2, column 2"));
  members = saved("csr");
  members[0].second = npy("<i4", "(3,)", raw<std::int32_t>({1, 2, 2}));
  members[4].second = npy("<f8", "(3,)", raw<double>({5, 3e38, 3e38}));
  EXPECT_THAT(refusal([&] { from_npz(members, {.duplicates = "sum"}); }),
              HasSubstr("array 'data', found inf at row 2, column 2"));
}

TEST(Npz, RefusesNamesThatLeadOutOfTheArchive) {
  const std::string array = npy("|u1", "(1, 1)", "a");
  for (const char* name : {"../X.npy", "/X.npy", "a/../../X.npy"})
    EXPECT_THAT(refusal([&] {
                  from_npz({{name, array}});
                }),
                HasSubstr("expected a name below the archive"))
        << name;
}

TEST(Npz, LabelRowsOfZerosAndOnesAreSets) {
  const Member x{"X.npy", npy("|u1", "(2, 1)", "ab")};
  const RawSplit split =
      from_npz({x, {"y.npy", npy("|u1", "(2, 3)", std::string("\x01\x00\x01\x00\x00\x00", 6))}});
  EXPECT_THAT(split.labels.sets.row_ptr, ElementsAre(0, 2, 2));
  EXPECT_THAT(split.labels.sets.labels, ElementsAre(0, 2));
  EXPECT_THAT(refusal([&] {
                from_npz({x, {"y.npy", npy("|u1", "(2, 2)", "\x01\x02\x01\x01")}});
              }),
              HasSubstr("found 2 in row 0"));
}

TEST(Npz, LabelsInOneRowAreThoseOfManySamplesOrTheSetOfOne) {
  const Member y{"y.npy", npy("|u1", "(1, 3)", std::string("\x01\x00\x01", 3))};
  const RawSplit one = from_npz({{"X.npy", npy("|u1", "(1, 2)", "ab")}, y});
  EXPECT_THAT(one.labels.sets.row_ptr, ElementsAre(0, 2));
  EXPECT_THAT(one.labels.sets.labels, ElementsAre(0, 2));
  const RawSplit three = from_npz({{"X.npy", npy("|u1", "(3, 1)", "abc")}, y});
  EXPECT_THAT(three.labels.numbers, ElementsAre(1, 0, 1));
}

TEST(Npy, AShapeWhoseFirstSidesOverflowIsRefusedEvenIfItIsEmpty) {
  EXPECT_THAT(refusal([] { from_npy(npy("|u1", "(4611686018427387904, 2, 0)", "")); }),
              HasSubstr("expected one that fits the file"));
}

TEST(Mat, ReadsPlainAndCompressedArraysStoredAsSmallerTypes) {
  const std::string x = mat_array("X", 2, 3, 4, raw<std::uint16_t>({1, 4, 2, 5, 3, 600}));
  const std::string y = mat_array("Y", 2, 1, 1, "\x01\xff");
  const std::string packed_x = little_endian(15, 4) + little_endian(deflated(x).size(), 4) + deflated(x);
  for (const std::string& elements : {x + y, packed_x + y, y + packed_x}) {
    const RawSplit split = from_mat(elements);
    EXPECT_THAT(split.inputs.floats, ElementsAre(1, 2, 3, 4, 5, 600));
    EXPECT_THAT(split.labels.numbers, ElementsAre(1, -1));
  }
  EXPECT_THAT(from_mat(x + mat_array("Y", 1, 2, 1, "\x01\xff")).labels.numbers, ElementsAre(1, -1));  // a row
}

TEST(Mat, PassesOverWhatIsNotNumericAndRefusesOtherFiles) {
  const std::string x = mat_array("X", 1, 2, 9, raw<double>({1, 2}));
  const std::string text = mat_array("name", 1, 2, 4, raw<std::uint16_t>({65, 66}), 4);
  EXPECT_THAT(from_mat(text + x).inputs.floats, ElementsAre(1, 2));
  EXPECT_THAT(refusal([&] { from_mat(text + x, {.arrays = "name"}); }), HasSubstr("expected one of X"));
  EXPECT_THAT(refusal([] { read_mat(bytes_of(std::string(200, 'x')), "f", {}); }),
              HasSubstr("expected version 5"));
  EXPECT_THAT(refusal([] { read_mat(bytes_of("MATLAB 7.3 MAT-file" + std::string(200, ' ')), "f", {}); }),
              HasSubstr("HDF5"));
  EXPECT_THAT(refusal([] { from_mat(mat_array("X", 65536, 65536, 9, "12345678")); }),
              HasSubstr("expected at most the 8 bytes"));
}

}  // namespace
}  // namespace tulle::testing
