/* The processor as seen from inside the process, in one hash. */

#pragma once

#include "arrays.h"

typedef struct { /* SHA-256 (FIPS 180-4) */
    uint32_t state[8];
    uint8_t block[64];
    uint64_t bytes;
} Sha256;

static const uint32_t SHA256_K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotated(uint32_t x, int by) { return x >> by | x << (32 - by); }

static void sha256_block(Sha256 *sha) {
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)sha->block[4 * i] << 24 | (uint32_t)sha->block[4 * i + 1] << 16 |
               (uint32_t)sha->block[4 * i + 2] << 8 | sha->block[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] + (rotated(w[i - 15], 7) ^ rotated(w[i - 15], 18) ^ w[i - 15] >> 3) +
               (rotated(w[i - 2], 17) ^ rotated(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(s, sha->state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t t1 = s[7] + (rotated(s[4], 6) ^ rotated(s[4], 11) ^ rotated(s[4], 25)) +
                      ((s[4] & s[5]) ^ (~s[4] & s[6])) + SHA256_K[i] + w[i];
        uint32_t t2 = (rotated(s[0], 2) ^ rotated(s[0], 13) ^ rotated(s[0], 22)) +
                      ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        for (int j = 7; j > 0; j--) s[j] = s[j - 1];
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) sha->state[i] += s[i];
}

static void sha256_add(Sha256 *sha, const char *data, size_t length) {
    for (size_t i = 0; i < length; i++) {
        sha->block[sha->bytes++ % 64] = (uint8_t)data[i];
        if (sha->bytes % 64 == 0) sha256_block(sha);
    }
}

static void sha256_end(Sha256 *sha, char *hex) {
    uint64_t bits = sha->bytes * 8;
    sha256_add(sha, "\x80", 1);
    while (sha->bytes % 64 != 56) sha256_add(sha, "", 1);
    for (int i = 7; i >= 0; i--) sha256_add(sha, &(char){(char)(bits >> 8 * i)}, 1);
    for (int i = 0; i < 8; i++) snprintf(hex + 8 * i, 9, "%08x", sha->state[i]);
}

static void sha256_add_file(Sha256 *sha, const char *path) {
    size_t length = 0;
    char *content = read_file(path, &length);
    sha256_add(sha, path, strlen(path) + 1);
    sha256_add(sha, content ? content : "absent", content ? length : 6);
    sha256_add(sha, "", 1);
}

/* What engines choose their kernels by, as seen from inside this process; README.md names the parts. */
static void processor_sha256(char *hex) {
    static const char *const of_all[] = {"possible", "present", "kernel_max"};
    static const char *const of_each[] = {"cpufreq/cpuinfo_max_freq", "cpufreq/cpuinfo_min_freq",
                                          "topology/physical_package_id", "topology/core_siblings_list",
                                          "regs/identification/midr_el1"};
    Sha256 sha = {
        .state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
    char path[128];
    sha256_add_file(&sha, "/proc/cpuinfo");
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "/sys/devices/system/cpu/%s", of_all[i]);
        sha256_add_file(&sha, path);
    }
    for (int cpu = 0; cpu < 16; cpu++)
        for (int i = 0; i < 5; i++) {
            snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/%s", cpu, of_each[i]);
            sha256_add_file(&sha, path);
        }
    snprintf(path, sizeof path, "hwcap %lx %lx", getauxval(16), getauxval(26)); /* AT_HWCAP, AT_HWCAP2 */
    sha256_add(&sha, path, strlen(path));
    sha256_end(&sha, hex);
}
