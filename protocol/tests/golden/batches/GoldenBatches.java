// Writes batches.txt: what Kafka's own classes build, read, accept and refuse. Run with Kafka's jars on the class path:
//   javac -cp '<kafka>/libs/*' -d out GoldenBatches.java && java -cp '<kafka>/libs/*:out' GoldenBatches > batches.txt
//
//   batch NAME HEX                  built by MemoryRecordsBuilder; its records follow, as Kafka reads them
//   record OFFSET TIMESTAMP SEQUENCE KEY VALUE [HEADERKEY=HEADERVALUE ...]      hex, "null", "empty" or "crc32c:LENGTH:CRC"
//   verdict NAME HEX version=V type=T compacted=0|1 max=BYTES target=C CODE [RESULT]
//        the answer of ProduceRequest, UnifiedLog's checks and LogValidator at time 1700000000000, and the batch stored
//        at offset 100 in leader epoch 7

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.function.*;
import java.util.zip.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.requests.ProduceRequest;
import org.apache.kafka.common.utils.*;
import org.apache.kafka.storage.internals.log.*;

public class GoldenBatches {
    static final long NOW = 1700000000000L;
    static final Time STANDING = (Time) java.lang.reflect.Proxy.newProxyInstance(Time.class.getClassLoader(), new Class<?>[] {Time.class},
        (proxy, method, args) -> method.getName().equals("milliseconds") ? (Object) NOW : (Object) (NOW * 1000000));
    static final StringBuilder out = new StringBuilder();

    static String hex(byte[] b) {
        if (b == null) return "null";
        return b.length == 0 ? "empty" : HexFormat.of().formatHex(b);
    }

    static String field(byte[] b) {
        if (b == null || b.length <= 256) return hex(b);
        CRC32C crc = new CRC32C();
        crc.update(b);
        return "crc32c:" + b.length + ":" + crc.getValue();
    }

    static byte[] bytes(ByteBuffer b) {
        if (b == null) return null;
        byte[] a = new byte[b.remaining()];
        b.duplicate().get(a);
        return a;
    }

    static byte[] utf(String s) { return s == null ? null : s.getBytes(StandardCharsets.UTF_8); }

    static byte[] batch(String name, MemoryRecords records) {
        byte[] b = bytes(records.buffer());
        out.append("batch ").append(name).append(' ').append(hex(b)).append('\n');
        for (MutableRecordBatch batch : records.batches())
            for (org.apache.kafka.common.record.internal.Record r : batch) {
                out.append("record ").append(r.offset()).append(' ').append(r.timestamp()).append(' ').append(r.sequence())
                    .append(' ').append(field(bytes(r.key()))).append(' ').append(field(bytes(r.value())));
                for (Header h : r.headers()) out.append(' ').append(hex(utf(h.key()))).append('=').append(hex(h.value()));
                out.append('\n');
            }
        return b;
    }

    static MemoryRecordsBuilder builder(Compression c, TimestampType t, long base, long pid, short epoch, int seq, boolean txn) {
        return new MemoryRecordsBuilder(ByteBuffer.allocate(1 << 20), (byte) 2, c, t, base, NOW, pid, epoch, seq, txn, false, 3, 1 << 20);
    }

    static void fill(MemoryRecordsBuilder b, int repeat) {
        b.append(NOW - 5, utf("key"), utf("value"));
        b.append(NOW - 7, null, new byte[0]);
        b.append(NOW + 9, new byte[0], null, new Header[] {
            new RecordHeader("h", utf("1")), new RecordHeader("h", null), new RecordHeader("", new byte[] {(byte) 0xff, 0})});
        b.append(NOW, utf("k".repeat(200)), utf("abcdefgh".repeat(repeat)));
    }

    static void builds() {
        for (CompressionType type : CompressionType.values()) {
            MemoryRecordsBuilder b = builder(Compression.of(type).build(), TimestampType.CREATE_TIME, 1L << 33, 4711, (short) 2, 40, false);
            // Several blocks of every codec.
            fill(b, type == CompressionType.NONE ? 10 : 20000);
            batch("built-" + type.name, b.build());
        }
        MemoryRecordsBuilder b = builder(Compression.NONE, TimestampType.LOG_APPEND_TIME, 0, -1, (short) -1, -1, false);
        fill(b, 10);
        batch("built-append-time", b.build());
        b = builder(Compression.NONE, TimestampType.CREATE_TIME, 0, 9, (short) 0, Integer.MAX_VALUE - 1, true);
        fill(b, 10);
        batch("built-transactional-sequence-wraps", b.build());
        b = builder(Compression.NONE, TimestampType.CREATE_TIME, 10, -1, (short) -1, -1, false);
        b.appendWithOffset(12, NOW, utf("a"), utf("1"));
        b.appendWithOffset(700, NOW - 70000, utf("b"), utf("2"));
        b.overrideLastOffset(900);
        batch("built-with-gaps", b.build());
        batch("commit-marker", MemoryRecords.withEndTransactionMarker(33, NOW, 5, 4711L, (short) 2, new EndTransactionMarker(ControlRecordType.COMMIT, 17)));
        batch("abort-marker", MemoryRecords.withEndTransactionMarker(33, NOW, 5, 4711L, (short) 2, new EndTransactionMarker(ControlRecordType.ABORT, 17)));
        Uuid dir = new Uuid(0x0102030405060708L, 0x090a0b0c0d0e0f10L);
        batch("leader-change", MemoryRecords.withLeaderChangeMessage(44, NOW, 5, ByteBuffer.allocate(1024), new LeaderChangeMessage()
            .setVersion((short) 0).setLeaderId(3)
            .setVoters(List.of(new LeaderChangeMessage.Voter().setVoterId(3), new LeaderChangeMessage.Voter().setVoterId(4)))
            .setGrantingVoters(List.of(new LeaderChangeMessage.Voter().setVoterId(3)))));
        batch("snapshot-header", MemoryRecords.withSnapshotHeaderRecord(0, NOW, 5, ByteBuffer.allocate(1024),
            new SnapshotHeaderRecord().setVersion((short) 0).setLastContainedLogTimestamp(NOW - 1)));
        batch("snapshot-footer", MemoryRecords.withSnapshotFooterRecord(0, NOW, 5, ByteBuffer.allocate(1024), new SnapshotFooterRecord().setVersion((short) 0)));
        batch("kraft-version", MemoryRecords.withKRaftVersionRecord(0, NOW, 5, ByteBuffer.allocate(1024),
            new KRaftVersionRecord().setVersion((short) 0).setKRaftVersion((short) 1)));
        VotersRecord.EndpointCollection ends = new VotersRecord.EndpointCollection();
        ends.add(new VotersRecord.Endpoint().setName("CONTROLLER").setHost("localhost").setPort(40000));
        batch("voters", MemoryRecords.withVotersRecord(0, NOW, 5, ByteBuffer.allocate(1024), new VotersRecord().setVersion((short) 0)
            .setVoters(List.of(new VotersRecord.Voter().setVoterId(3).setVoterDirectoryId(dir).setEndpoints(ends)
                .setKRaftVersionFeature(new VotersRecord.KRaftVersionFeature().setMinSupportedVersion((short) 0).setMaxSupportedVersion((short) 1))))));
    }

    // One batch with every field free, so that each may lie; the CRC is right.
    static class Raw {
        long baseOffset = 0, baseTime = NOW - 5, maxTime = NOW + 9, pid = -1;
        int epochOfLeader = -1, count = 3, lastDelta = 2, seq = -1, attributes = 0;
        Integer length = null;
        byte magic = 2;
        short epoch = -1;
        byte[] payload = payload(0);

        byte[] bytes() {
            ByteBuffer b = ByteBuffer.allocate(61 + payload.length);
            b.putLong(baseOffset).putInt(length == null ? 49 + payload.length : length).putInt(epochOfLeader).put(magic).putInt(0)
                .putShort((short) attributes).putInt(lastDelta).putLong(baseTime).putLong(maxTime).putLong(pid).putShort(epoch)
                .putInt(seq).putInt(count).put(payload);
            CRC32C crc = new CRC32C();
            crc.update(b.array(), 21, 40 + payload.length);
            b.putInt(17, (int) crc.getValue());
            return b.array();
        }
    }

    static void varint(ByteArrayOutputStream o, long v) {
        long raw = (v << 1) ^ (v >> 63);
        while ((raw & ~0x7fL) != 0) { o.write((int) (raw & 0x7f | 0x80)); raw >>>= 7; }
        o.write((int) raw);
    }

    static byte[] record(long timeDelta, long offsetDelta, byte[] key, byte[] value, byte[] headers) {
        ByteArrayOutputStream o = new ByteArrayOutputStream();
        o.write(0);
        varint(o, timeDelta);
        varint(o, offsetDelta);
        varint(o, key == null ? -1 : key.length);
        if (key != null) o.writeBytes(key);
        varint(o, value == null ? -1 : value.length);
        if (value != null) o.writeBytes(value);
        o.writeBytes(headers);
        return framed(o.toByteArray());
    }

    static byte[] framed(byte[] body) {
        ByteArrayOutputStream o = new ByteArrayOutputStream();
        varint(o, body.length);
        o.writeBytes(body);
        return o.toByteArray();
    }

    static byte[] join(byte[]... parts) {
        ByteArrayOutputStream o = new ByteArrayOutputStream();
        for (byte[] p : parts) o.writeBytes(p);
        return o.toByteArray();
    }

    static final byte[] NO_HEADERS = {0};
    static final byte[] FIRST = record(0, 0, utf("key"), utf("value"), NO_HEADERS);
    static final byte[] SECOND = record(-2, 1, utf("b"), new byte[0], NO_HEADERS);
    static final byte[] THIRD = record(14, 2, utf("c"), null, new byte[] {4, 2, 'h', 2, '1', 2, 'h', 1});
    static final byte[] RECORDS = join(FIRST, SECOND, THIRD);

    static byte[] compress(int type, byte[] records) {
        if (type == 0) return records;
        try (ByteBufferOutputStream o = new ByteBufferOutputStream(1 << 16)) {
            try (java.io.OutputStream c = Compression.of(CompressionType.forId(type)).build().wrapForOutput(o, (byte) 2)) { c.write(records); }
            ByteBuffer b = o.buffer();
            b.flip();
            return GoldenBatches.bytes(b);
        } catch (java.io.IOException e) { throw new RuntimeException(e); }
    }

    static byte[] payload(int type) { return compress(type, RECORDS); }

    static class Rules {
        short version = 12;
        TimestampType type = TimestampType.CREATE_TIME;
        boolean compacted = false;
        int max = 1048588;
        CompressionType target = null;
    }

    static void verdict(String name, byte[] records) { verdict(name, records, r -> { }); }

    static void verdict(String name, byte[] records, Consumer<Rules> change) {
        Rules rules = new Rules();
        change.accept(rules);
        String code, result = "";
        try {
            MemoryRecords stored = append(MemoryRecords.readableRecords(ByteBuffer.wrap(records.clone())), rules);
            code = "NONE";
            // Compressed by Kafka anew: only what is in it can be compared.
            result = rules.target == null ? " " + hex(bytes(stored.buffer())) : "";
        } catch (Throwable t) {
            code = Errors.forException(t instanceof RecordValidationException e ? e.invalidException() : t).name();
        }
        out.append("verdict ").append(name).append(' ').append(hex(records)).append(" version=").append(rules.version)
            .append(" type=").append(rules.type == TimestampType.CREATE_TIME ? "create" : "append")
            .append(" compacted=").append(rules.compacted ? 1 : 0).append(" max=").append(rules.max)
            .append(" target=").append(rules.target == null ? "producer" : rules.target.name).append(' ').append(code).append(result).append('\n');
    }

    static MemoryRecords append(MemoryRecords records, Rules rules) {
        ProduceRequest.validateRecords(rules.version, records);
        CompressionType source = CompressionType.NONE;
        for (MutableRecordBatch batch : records.batches()) {
            if (batch.baseOffset() != 0) throw new InvalidRecordException("base offset");
            if (batch.sizeInBytes() > rules.max) throw new RecordTooLargeException("size");
            if (!batch.isValid()) throw new CorruptRecordException("crc");
            CompressionType type = CompressionType.forId(batch.compressionType().id);
            if (type != CompressionType.NONE) source = type;
        }
        int valid = records.validBytes();
        if (valid < 0) throw new CorruptRecordException("valid bytes");
        ByteBuffer b = records.buffer().duplicate();
        b.limit(valid);
        LogValidator.MetricsRecorder metrics = new LogValidator.MetricsRecorder() {
            public void recordInvalidMagic() { }
            public void recordInvalidOffset() { }
            public void recordInvalidSequence() { }
            public void recordInvalidChecksums() { }
            public void recordNoKeyCompactedTopic() { }
        };
        CompressionType target = rules.target == null ? source : rules.target;
        return new LogValidator(MemoryRecords.readableRecords(b), new TopicPartition("t", 0), STANDING, source,
            Compression.of(target).build(), rules.compacted, (byte) 2, rules.type, 86400000L, 3600000L, 7, AppendOrigin.CLIENT)
            .validateMessagesAndAssignOffsets(PrimitiveRef.ofLong(100), metrics, BufferSupplier.NO_CACHING).validatedRecords();
    }

    static byte[] raw(Consumer<Raw> change) {
        Raw raw = new Raw();
        change.accept(raw);
        return raw.bytes();
    }

    static void headers() {
        byte[] good = raw(r -> { });
        verdict("good", good);
        byte[] flipped = good.clone();
        flipped[70] ^= 4;
        verdict("bit-flip-in-records", flipped);
        for (int magic : new int[] {0, 1, 3, -1}) verdict("magic" + magic, raw(r -> r.magic = (byte) magic));
        for (int length : new int[] {-1, 0, 13, 14, 48, 1 << 30, Integer.MIN_VALUE}) verdict("length" + length, raw(r -> r.length = length));
        for (int count : new int[] {0, -1, 2, 4, Integer.MAX_VALUE}) {
            verdict("count" + count, raw(r -> r.count = count));
            verdict("count-and-delta" + count, raw(r -> { r.count = count; r.lastDelta = count - 1; }));
        }
        for (int delta : new int[] {-1, 1, 3, Integer.MAX_VALUE, Integer.MIN_VALUE}) verdict("last-delta" + delta, raw(r -> r.lastDelta = delta));
        verdict("base-offset", raw(r -> r.baseOffset = 5));
        verdict("base-offset-negative", raw(r -> r.baseOffset = -5));
        verdict("leader-epoch-of-client", raw(r -> r.epochOfLeader = 99));
        verdict("control", raw(r -> r.attributes = 1 << 5));
        verdict("idempotent", raw(r -> { r.pid = 5; r.epoch = 0; r.seq = 0; }));
        verdict("idempotent-without-sequence", raw(r -> { r.pid = 5; r.epoch = 0; }));
        verdict("idempotent-sequence-below-none", raw(r -> { r.pid = 5; r.epoch = 0; r.seq = -2; }));
        verdict("sequence-without-producer", raw(r -> r.seq = 3));
        verdict("producer-id-below-none", raw(r -> { r.pid = -2; r.epoch = 0; }));
        verdict("transactional-without-producer", raw(r -> r.attributes = 1 << 4));
        verdict("unknown-attribute-bits", raw(r -> r.attributes = 0x7f00));
        verdict("delete-horizon-of-client", raw(r -> r.attributes = 1 << 6));
        for (int type : new int[] {5, 6, 7}) verdict("compression" + type, raw(r -> r.attributes = type));
        verdict("empty", new byte[0]);
        verdict("cut-off", Arrays.copyOf(good, good.length - 1));
        verdict("cut-off-in-length", Arrays.copyOf(good, 11));
        verdict("two-batches", join(good, good));
        verdict("second-batch-cut-off", join(good, Arrays.copyOf(good, 40)));
        verdict("second-batch-of-old-format", join(good, raw(r -> r.magic = 1)));
        verdict("garbage-behind", join(good, new byte[20]));
        verdict("few-bytes-behind", join(good, new byte[11]));
        verdict("too-large", good, r -> r.max = good.length - 1);
        verdict("just-fits", good, r -> r.max = good.length);
    }

    static void timestamps() {
        verdict("max-timestamp-lies", raw(r -> r.maxTime = 5));
        verdict("append-time-topic", raw(r -> { }), r -> r.type = TimestampType.LOG_APPEND_TIME);
        verdict("append-time-by-producer", raw(r -> r.attributes = 8));
        verdict("append-time-by-producer-without-time", raw(r -> { r.attributes = 8; r.maxTime = -1; }));
        verdict("append-time-by-producer-on-append-time-topic", raw(r -> r.attributes = 8), r -> r.type = TimestampType.LOG_APPEND_TIME);
        verdict("future", raw(r -> r.baseTime = NOW + 3600000));
        verdict("future-just-in", raw(r -> r.baseTime = NOW + 3600000 - 14));
        verdict("past", raw(r -> r.baseTime = NOW - 86400000 - 1));
        verdict("past-just-in", raw(r -> r.baseTime = NOW - 86400000 + 2));
        verdict("past-on-append-time-topic", raw(r -> r.baseTime = 0), r -> r.type = TimestampType.LOG_APPEND_TIME);
        verdict("no-timestamp", raw(r -> { r.baseTime = -1; r.count = 1; r.lastDelta = 0; r.payload = FIRST; }));
        verdict("timestamp-overflows", raw(r -> { r.baseTime = Long.MAX_VALUE; }));
        verdict("key-on-compacted-topic", raw(r -> { }), r -> r.compacted = true);
        verdict("no-key-on-compacted-topic", raw(r -> { r.payload = record(0, 0, null, utf("v"), NO_HEADERS); r.count = 1; r.lastDelta = 0; }),
            r -> r.compacted = true);
    }

    static void structure() {
        Map<String, byte[]> bad = new LinkedHashMap<>();
        bad.put("offset-delta-repeats", record(0, 1, null, null, NO_HEADERS));
        bad.put("offset-delta-jumps", record(0, 5, null, null, NO_HEADERS));
        bad.put("offset-delta-negative", record(0, -1, null, null, NO_HEADERS));
        bad.put("record-length-negative", new byte[] {1, 0, 0, 4, 1, 1, 0});
        bad.put("record-length-zero", new byte[] {0, 0, 0, 4, 1, 1, 0});
        bad.put("record-length-too-long", new byte[] {14, 0, 0, 4, 1, 1, 0});
        bad.put("record-length-too-short", new byte[] {10, 0, 0, 4, 1, 1, 0});
        bad.put("record-length-overlong", new byte[] {(byte) 0x8c, (byte) 0x80, (byte) 0x80, (byte) 0x80, (byte) 0x80, 0, 0, 0, 4, 1, 1, 0});
        bad.put("record-length-not-shortest", new byte[] {(byte) 0x8c, 0, 0, 0, 4, 1, 1, 0});
        bad.put("record-attributes-set", new byte[] {12, 127, 0, 4, 1, 1, 0});
        bad.put("key-length-below-null", new byte[] {12, 0, 0, 4, 3, 1, 0});
        bad.put("value-length-below-null", new byte[] {12, 0, 0, 4, 1, 3, 0});
        bad.put("key-too-long", new byte[] {12, 0, 0, 4, 100, 1, 0});
        bad.put("value-reaches-into-headers", new byte[] {12, 0, 0, 4, 1, 2, 0});
        bad.put("header-count-negative", new byte[] {12, 0, 0, 4, 1, 1, 1});
        bad.put("header-count-too-large", new byte[] {12, 0, 0, 4, 1, 1, 4});
        bad.put("header-count-huge", framed(new byte[] {0, 0, 4, 1, 1, -2, -1, -1, -1, 15}));
        bad.put("header-without-key", framed(new byte[] {0, 0, 4, 1, 1, 2, 1, 1}));
        bad.put("header-value-below-null", framed(new byte[] {0, 0, 4, 1, 1, 2, 2, 'h', 3}));
        bad.put("header-key-not-utf8", framed(new byte[] {0, 0, 4, 1, 1, 2, 2, -1, 1}));
        bad.put("bytes-behind-headers", framed(new byte[] {0, 0, 4, 1, 1, 0, 0}));
        for (int type : new int[] {0, 1, 2, 3, 4})
            for (Map.Entry<String, byte[]> entry : bad.entrySet())
                verdict(entry.getKey() + "-" + type, raw(r -> { r.attributes = type; r.payload = compress(type, join(FIRST, SECOND, entry.getValue())); }));
    }

    static void compressed() throws Exception {
        for (int type : new int[] {1, 2, 3, 4}) {
            byte[] packed = payload(type);
            verdict("compressed-" + type, raw(r -> { r.attributes = type; r.payload = packed; }));
            verdict("compressed-zstd-old-" + type, raw(r -> { r.attributes = type; r.payload = packed; }), r -> r.version = 6);
            verdict("compressed-version-7-" + type, raw(r -> { r.attributes = type; r.payload = packed; }), r -> r.version = 7);
            verdict("compressed-append-time-" + type, raw(r -> { r.attributes = type; r.payload = packed; }), r -> r.type = TimestampType.LOG_APPEND_TIME);
            verdict("compressed-count-lies-" + type, raw(r -> { r.attributes = type; r.payload = packed; r.count = 4; r.lastDelta = 3; }));
            verdict("compressed-count-too-small-" + type, raw(r -> { r.attributes = type; r.payload = packed; r.count = 2; r.lastDelta = 1; }));
            verdict("compressed-garbage-" + type, raw(r -> { r.attributes = type; r.payload = RECORDS; }));
            verdict("compressed-nothing-" + type, raw(r -> { r.attributes = type; r.payload = new byte[0]; }));
            verdict("compressed-cut-off-" + type, raw(r -> { r.attributes = type; r.payload = Arrays.copyOf(packed, packed.length - 1); }));
            verdict("compressed-half-" + type, raw(r -> { r.attributes = type; r.payload = Arrays.copyOf(packed, packed.length / 2); }));
            verdict("compressed-byte-behind-" + type, raw(r -> { r.attributes = type; r.payload = join(packed, new byte[] {1}); }));
            byte[] halves = join(compress(type, FIRST), compress(type, join(SECOND, THIRD)));
            verdict("compressed-two-frames-" + type, raw(r -> { r.attributes = type; r.payload = halves; }));
            verdict("recompressed-" + type, raw(r -> { r.attributes = type; r.payload = packed; }), r -> r.target = CompressionType.forId(type % 4 + 1));
            verdict("uncompressed-by-broker-" + type, raw(r -> { r.attributes = type; r.payload = packed; }), r -> r.target = CompressionType.NONE);
            verdict("compressed-by-broker-" + type, raw(r -> { }), r -> r.target = CompressionType.forId(type));
        }
        byte[] rawSnappy = org.xerial.snappy.Snappy.compress(RECORDS);
        verdict("snappy-raw", raw(r -> { r.attributes = 2; r.payload = rawSnappy; }));
        byte[] old = payload(2).clone();
        old[11] = 0;
        verdict("snappy-version-0", raw(r -> { r.attributes = 2; r.payload = old; }));
        byte[] lz4 = payload(3);
        verdict("lz4-without-end-mark", raw(r -> { r.attributes = 3; r.payload = Arrays.copyOf(lz4, lz4.length - 4); }));
        for (int flags : new int[] {0x40, 0x61, 0x62, 0x20, 0x70, 0x64}) {
            byte[] changed = lz4.clone();
            changed[4] = (byte) flags;
            changed[6] = (byte) (org.apache.kafka.common.compress.Lz4BlockOutputStream.class != null
                ? net.jpountz.xxhash.XXHashFactory.fastestJavaInstance().hash32().hash(changed, 4, 2, 0) >> 8 : 0);
            verdict("lz4-flags-" + Integer.toHexString(flags), raw(r -> { r.attributes = 3; r.payload = changed; }));
        }
        byte[] checksum = lz4.clone();
        checksum[6] ^= 1;
        verdict("lz4-header-checksum", raw(r -> { r.attributes = 3; r.payload = checksum; }));
    }

    public static void main(String[] args) throws Exception {
        builds();
        headers();
        timestamps();
        structure();
        compressed();
        System.out.print(out);
    }
}
